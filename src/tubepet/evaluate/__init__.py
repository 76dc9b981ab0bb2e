"""Measure how good the generated images are (stage 08)."""
