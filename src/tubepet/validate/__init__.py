"""Checks of simulation and reconstruction against what is known without them."""
