"""Iterations from lines to an image, their priors and their end."""
