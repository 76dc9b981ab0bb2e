"""Stage 06: PCA and PCANet features of the positron slices."""
