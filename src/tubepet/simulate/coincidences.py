"""GATE's coincidence files: ROOT in, `Listmode` out.

The tree is `Coincidences` with GATE 10's branches; each quantity has a 1 and a 2. A crystal is
known by the readout position, which is its centre.
"""

from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.simulate.digitizer import SCATTER_PROCESSES
from tubepet.types import Listmode, Scanner

TREE = "Coincidences"
TRUE, SCATTER, RANDOM = 0, 1, 2
POSITION_BRANCHES = [f"PostPosition{i}_{axis}" for i in (1, 2) for axis in "XYZ"]
TRUTH_BRANCHES = [f"n_{process}{i}" for i in (1, 2) for process in SCATTER_PROCESSES]
BRANCHES = [*POSITION_BRANCHES, *TRUTH_BRANCHES, "EventID1", "EventID2"]
BRANCHES += ["GlobalTime1", "GlobalTime2"]


def read_coincidences(path: str | Path, scanner: Scanner) -> Listmode:
    """Read the coincidences of one simulation.

    Parameters
    ----------
    path : str or Path
        ROOT file with the tree `Coincidences`.
    scanner : Scanner
        The scanner that was simulated.

    Returns
    -------
    Listmode
        Empty if the tree is. truth: 0 true, 1 scattered in the object, 2 random (two decays).

    Raises
    ------
    InputError
        If the file is cut or damaged, lacks the tree or a branch, or comes from another scanner.
    """
    data = read_branches(path, BRANCHES)
    crystal1, crystal2 = (
        crystal_of(path, scanner, *(data[f"PostPosition{i}_{axis}"] for axis in "XYZ"))
        for i in (1, 2)
    )
    is_scattered = sum(data[name] for name in TRUTH_BRANCHES) > 0
    is_random = data["EventID1"] != data["EventID2"]
    truth = np.where(is_random, RANDOM, np.where(is_scattered, SCATTER, TRUE)).astype(np.uint8)
    return Listmode(crystal1, crystal2, data["GlobalTime2"] - data["GlobalTime1"], truth)


def read_branches(path: str | Path, branches: list[str]) -> dict[str, NDArray[Any]]:
    """Read branches of the tree `Coincidences`; GATE's units (mm, ns, MeV).

    Raises
    ------
    InputError
        If the file is cut or damaged, or lacks the tree or a branch.
    """
    try:
        with uproot.open(path) as file:
            tree = file[TREE]
            data: dict[str, NDArray[Any]] = tree.arrays(branches, library="np")
            num_entries = tree.num_entries
    except FileNotFoundError:
        raise
    except Exception as error:  # uproot raises many kinds on damaged bytes
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: expected a whole ROOT file with the tree {TREE}, got a damaged one "
            f"({type(error).__name__}: {reason})"
        ) from error
    if any(len(values) != num_entries for values in data.values()):
        raise InputError(f"{path}: expected {num_entries} entries in each branch of {TREE}")
    return data


def write_empty(path: str | Path) -> None:
    """Write a tree `Coincidences` without entries (GATE writes no tree for no coincidence)."""
    with uproot.recreate(path) as file:
        file.mktree(TREE, {name: _branch_type(name) for name in BRANCHES})


def _branch_type(name: str) -> str:
    return "float64" if name.startswith(("PostPosition", "GlobalTime")) else "int32"


def crystal_of(
    path: str | Path,
    scanner: Scanner,
    x_mm: NDArray[np.float64],
    y_mm: NDArray[np.float64],
    z_mm: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Return the crystals at readout positions (`tubepet.types`: ring * num_columns + column).

    Parameters
    ----------
    path : str or Path
        For the message only.
    scanner : Scanner
    x_mm, y_mm, z_mm : float64 array, shape (n,)

    Returns
    -------
    int32 array, shape (n,)

    Raises
    ------
    InputError
        If a position is not the centre of a crystal.
    """
    turns = np.arctan2(y_mm, x_mm) / (2 * np.pi)
    column = np.rint(turns * scanner.num_columns).astype(np.int32) % scanner.num_columns
    ring_place = z_mm / scanner.axial_pitch_mm + (scanner.num_rings - 1) / 2
    ring = np.rint(ring_place).astype(np.int32)
    radius_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    off_mm = np.abs(np.hypot(x_mm, y_mm) - radius_mm) + scanner.axial_pitch_mm * np.abs(
        ring_place - ring
    )
    is_outside = (off_mm > 0.01) | (ring < 0) | (ring >= scanner.num_rings)
    if is_outside.any():
        raise InputError(
            f"{path}: got {int(is_outside.sum())} readout positions that are no crystal centres, "
            "expected coincidences of the configured scanner (section scanner)"
        )
    return ring * np.int32(scanner.num_columns) + column
