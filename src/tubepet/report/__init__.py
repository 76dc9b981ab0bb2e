"""Stage 09: what the user reads."""
