"""Scatter and randoms: how many every pair of crystals counts."""
