"""Follow a few slices on a GPU, real or simulated by numba, and write its singles.

A process of its own: numba reads its switches once. The test makes the same slices on the CPU.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

from tubepet.simulate.fast import cuda, setup, tables
from tubepet.types import Grid, Scanner, Volume

ACTIVITY_BQ, SEED, FIRST = 3e6, 5, 7
EDGES_NS = np.linspace(0, 50e3, 6)  # five slices of 30 decays


def fixed(scanner):
    """Return a block of aluminium with water and activity in its middle, as kernels want it."""
    photons, grid = tables.photons(), Grid.centred((3, 6, 6), (4.0, 4.0, 4.0))
    labels = np.full(grid.shape, 2, np.uint8)
    labels[1, 2:4, 2:4] = 1
    activity = Volume((labels == 1).astype(np.float32), grid)
    return setup.fixed(
        *setup.tube(Volume(labels, grid), activity, scanner, photons), scanner, photons
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # 64 bits wrap around, as they shall
    scanner = Scanner(**json.loads(Path(sys.argv[1]).read_text()))
    found = cuda.singles(SEED, FIRST, EDGES_NS, ACTIVITY_BQ, fixed(scanner))
    np.savez(sys.argv[2], decays=found[0], reals=found[1], counts=found[2])
