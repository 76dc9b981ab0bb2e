"""Simulate a few time slices on a GPU, real or simulated by numba, and write the singles.

This is a process of its own, because numba reads its settings once. The test makes the same slices
on the CPU.
"""

import json
import sys
import warnings
from pathlib import Path

import numpy as np

from tubepet.simulate.fast import cuda, positrons, setup, tables
from tubepet.types import Grid, Scanner, Volume

ACTIVITY_BQ, SEED, FIRST = 3e6, 5, 7
ISOTOPES = ("", "F18")  # photon pairs, and positrons
EDGES_NS = np.linspace(0, 50e3, 6)  # five slices of 30 decays


def fixed(scanner, isotope):
    """Return a block of aluminium with water and activity in its middle, as kernels want it.

    It emits photon pairs, or positrons of an isotope.
    """
    photons, grid = tables.photons(), Grid.centred((3, 6, 6), (4.0, 4.0, 4.0))
    labels = np.full(grid.shape, 2, np.uint8)
    labels[1, 2:4, 2:4] = 1
    activity = Volume((labels == 1).astype(np.float32), grid)
    source, box = setup.tube(Volume(labels, grid), activity, scanner, photons)
    if isotope:
        source = source._replace(positrons=positrons.positrons(isotope))
    return setup.fixed(source, box, scanner, photons)


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # 64 bits wrap around, as they shall
    scanner = Scanner(**json.loads(Path(sys.argv[1]).read_text()))
    result = {}
    for isotope in ISOTOPES:  # in one process: the tables of electrons take a minute without numba
        found = cuda.singles(SEED, FIRST, EDGES_NS, ACTIVITY_BQ, fixed(scanner, isotope))
        names = ("decays", "reals", "counts")
        result |= {f"{name}{isotope}": values for name, values in zip(names, found, strict=True)}
    np.savez(sys.argv[2], **result)
