"""Coincidences of GATE 9 and GATE 10 for any scanner: each single goes to the nearest crystal.

GATE 10 (as `tubepet.simulate.coincidences`): PostPosition1_X in mm, GlobalTime1 in ns. GATE 9:
globalPosX1 in mm, time1 in s (its ids, crystalID1 and others, depend on the kind of system and are
not used). Sources: opengate 10.1; GATE 9 documentation, "Data output", section on ROOT.
"""

from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tubepet.errors import InputError, reading
from tubepet.simulate.coincidences import TREE, branches, check_names, read_branches
from tubepet.types import Listmode

NS_PER_S = 1e9
GATE10 = [*branches("PostPosition"), *branches("GlobalTime")]
GATE9 = [*(f"globalPos{axis}{i}" for i in (1, 2) for axis in "XYZ"), "time1", "time2"]
# A single lies inside its crystal: half of the depth of common crystals, and some of their width.
MAX_DISTANCE_MM = 15.0


def read_gate(
    path: str | Path,
    points_mm: NDArray[np.float64],
    tree: str = TREE,
    max_distance_mm: float = MAX_DISTANCE_MM,
) -> Listmode:
    """Read coincidences and give each single to the nearest crystal.

    Parameters
    ----------
    points_mm : float64 array, shape (n, 3)
        Crystals; the rows are the ids of the result.
    max_distance_mm : float
        Farther singles are not of this scanner.

    Returns
    -------
    Listmode
        Its truth is 0 everywhere: unknown.

    Raises
    ------
    InputError
        If branches are missing, times or positions are not finite, or singles lie outside.
    """
    found = _branch_names(path, tree)
    names = next((names for names in (GATE10, GATE9) if set(names) <= found), None)
    if names is None:
        raise InputError(
            f"{path}: tree {tree} has the branches {', '.join(sorted(found)) or 'none'}; expected "
            "GATE 10's (PostPosition1_X, ..., GlobalTime1) or GATE 9's (globalPosX1, ..., time1)"
        )
    data = read_branches(path, names, tree)
    columns = np.array([np.asarray(data[name], np.float64) for name in names])
    if not np.isfinite(columns).all():
        bad = [name for name in names if not np.isfinite(data[name]).all()]
        raise InputError(f"{path}: got NaN or infinite values in {', '.join(bad)}")
    crystal1, crystal2 = (
        nearest(path, columns[3 * i : 3 * i + 3].T, points_mm, max_distance_mm) for i in (0, 1)
    )
    scale = NS_PER_S if names is GATE9 else 1.0
    difference_ns, time_s = (columns[7] - columns[6]) * scale, columns[6] * scale / NS_PER_S
    return Listmode(crystal1, crystal2, difference_ns, np.zeros(len(crystal1), np.uint8), time_s)


def nearest(
    name: str | Path,
    places_mm: NDArray[np.float64],
    points_mm: NDArray[np.float64],
    max_distance_mm: float,
) -> NDArray[np.int32]:
    """Return the nearest crystal of every place (rows x, y, z); `InputError` if one has none."""
    distance_mm, crystal = cKDTree(points_mm).query(places_mm)
    is_outside = distance_mm > max_distance_mm
    if is_outside.any():
        raise InputError(
            f"{name}: got {int(is_outside.sum())} of {len(places_mm)} singles outside the scanner, "
            f"expected all within {max_distance_mm:g} mm of a crystal"
        )
    return crystal.astype(np.int32)


def _branch_names(path: str | Path, tree: str) -> set[str]:
    with reading(path, f"a whole ROOT file with the tree {tree}"), uproot.open(path) as file:
        check_names(path, "trees", file.keys(recursive=False, cycle=False), [tree])
        branches_of: Any = file[tree]
        return set(branches_of.keys())


def trees(path: str | Path) -> set[str]:
    """Return the names of the trees of a ROOT file."""
    with reading(path, "a whole ROOT file"), uproot.open(path) as file:
        return set(file.keys(recursive=False, cycle=False))
