"""Names of the rows of Table 1 that are no generators, in a module that does not import torch."""

FLOOR = "real (training tubes)"
COPY = "training slices drawn again"
