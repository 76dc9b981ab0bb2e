"""Names of the rows of Table 1 that are no generators (alone: pages name them without torch)."""

FLOOR = "real (training tubes)"
COPY = "training slices drawn again"
