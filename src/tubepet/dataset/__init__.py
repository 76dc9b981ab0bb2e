"""The slices of all tubes: collected, drawn, labelled, split, read."""
