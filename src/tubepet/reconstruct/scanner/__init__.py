"""The scanner: geometry, crystals, timing, what identifies it."""
