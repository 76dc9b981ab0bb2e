"""Generators of slices, the paper's and its rivals, and the loop that trains them (stage 07)."""
