"""Observers of the same parts: the score test, a network, and a stand-in for a person."""
