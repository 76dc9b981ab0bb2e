"""Choose the crystals for which scatter is simulated, and interpolate to all others.

Apart from efficiencies, scatter is smooth from crystal to crystal. So it is simulated for some
crystals of a ring or of each module, the nodes. Cubic splines give the others.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.interpolate import CubicSpline

from tubepet import layout
from tubepet.types import Scanner

Array = NDArray[np.float64]

# Nodes of a ring for one scatter point; every second one of them for several points.
NUM_COARSE_COLUMNS, NUM_COARSE_RINGS = 40, 11
PAIRS_AT_ONCE = 1 << 14
# Distance of nodes of modules, in radii of the bore. Compared with nodes at every second or third
# crystal, totals differ by 0.4 % and single pairs by 3 %, in scanners of blocks and of panels.
STEP_SHARE = 0.15


def spline(known: NDArray[np.int64], wanted: NDArray[np.int64], period: int = 0) -> Array:
    """Weights of cubic interpolation, shape (wanted, known); on a circle if a period is given."""
    units = np.eye(len(known))
    if period:
        around = np.append(known, known[0] + period)
        units = np.concatenate([units, units[:1]])
        return np.asarray(CubicSpline(around, units, bc_type="periodic")(wanted))
    if len(known) < 2:
        return np.ones((len(wanted), 1))
    return np.asarray(CubicSpline(known, units)(wanted))


def coarse_columns(scanner: Scanner) -> NDArray[np.int64]:
    """Return the columns for which scatter is simulated."""
    num = min(NUM_COARSE_COLUMNS, scanner.num_columns)
    return np.unique(np.rint(np.arange(num) * scanner.num_columns / num).astype(np.int64))


def coarse_rings(scanner: Scanner) -> NDArray[np.int64]:
    """Return the rings for which scatter is simulated."""
    num = min(NUM_COARSE_RINGS, scanner.num_rings)
    return np.unique(np.rint(np.linspace(0, scanner.num_rings - 1, num)).astype(np.int64))


def of_scanner(scanner: Scanner, stride: int) -> tuple[NDArray[np.int64], sparse.csr_array]:
    """Choose nodes of any scanner.

    Parameters
    ----------
    scanner : Scanner
    stride : int
        Distance of nodes over that for one scatter point.

    Returns
    -------
    int64 array, shape (n,)
        Crystal ids of the nodes.
    csr_array, shape (num_crystals, n)
        Weights that interpolate from nodes to crystals.
    """
    if not scanner.modules:
        columns, rings = coarse_columns(scanner)[::stride], coarse_rings(scanner)[::stride]
        around = spline(columns, np.arange(scanner.num_columns), scanner.num_columns)
        along = spline(rings, np.arange(scanner.num_rings))
        ids = (rings[:, None] * scanner.num_columns + columns).ravel()
        return ids, sparse.csr_array(np.kron(along, around))
    found, blocks, first = [], [], 0
    step_mm = stride * STEP_SHARE * layout.bore_mm(scanner)
    for one in layout.families(scanner):
        columns = _spread(one.columns, one.pitch_width_mm / step_mm)
        rings = _spread(one.rings, one.pitch_height_mm / step_mm)
        around = spline(columns, np.arange(one.columns))
        block = np.kron(spline(rings, np.arange(one.rings)), around)
        for _ in range(one.around * len(one.z_mm)):
            found.append(first + (rings[:, None] * one.columns + columns).ravel())
            blocks.append(block)
            first += one.num_per_module
    return np.concatenate(found), sparse.csr_array(sparse.block_diag(blocks, format="csr"))


def _spread(num: int, steps_each: float) -> NDArray[np.int64]:
    """Choose crystals of a row, as many as steps fit in, with both ends."""
    wanted = 1 + round((num - 1) * steps_each)
    if wanted == 1:
        return np.array([num // 2])
    return np.unique(np.rint(np.linspace(0, num - 1, min(wanted, num))).astype(np.int64))


def between(
    weights: sparse.csr_array, sums: Array, pairs: tuple[NDArray[np.integer], ...]
) -> Array:
    """Interpolate values of pairs of nodes, shape (n, n), to pairs of crystals, shape (k,)."""
    left = weights @ sums
    found = np.empty(len(pairs[0]))
    edges = [*range(0, len(found), PAIRS_AT_ONCE), len(found)]
    for start, stop in pairwise(edges):
        rows = weights[pairs[1][start:stop]]
        row = np.repeat(np.arange(stop - start), np.diff(rows.indptr))
        values = left[pairs[0][start:stop][row], rows.indices] * rows.data
        found[start:stop] = np.bincount(row, values, stop - start)
    return found
