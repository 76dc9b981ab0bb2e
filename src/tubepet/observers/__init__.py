"""Observers of the same parts: the score test, a learned inspector, a stand-in for a person."""
