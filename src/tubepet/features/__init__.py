"""PCA and PCANet features of the positron training slices: the memory bank."""
