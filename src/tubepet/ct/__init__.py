"""Stage 04: medical CT slices for pretraining."""
