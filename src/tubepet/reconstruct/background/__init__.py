"""Scatter and randoms."""
