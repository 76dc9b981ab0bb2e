"""Stage 03: list-mode MLEM and the slice dataset."""
