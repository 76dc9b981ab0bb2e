"""The data set: slices of the images of all tubes, with splits, drawings and labels."""
