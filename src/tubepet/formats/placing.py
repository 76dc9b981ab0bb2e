"""Give places of singles to the crystals of a scanner, and recognise files of another scanner.

Offsets are measured in fractions of a crystal. Singles lie within crystals. Programs write
different depths: the middle of the crystal, the mean interaction, or for ends of lines the front
face. The mean depth of a file may differ only within that range. Readout positions, which all have
the same depth in their crystals, lie in the middle of the faces as well. A few places may be in no
crystal (strays); they are counted and left out.

Not recognised: a scanner of the same radius and length with crystals of another width, if places
are interactions and not readout positions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct.scanner.checks import check_lengths
from tubepet.reconstruct.scanner.crystals import Crystals

MAX_STRAYS = 0.01  # share of places, or one
MOST_OFF, SAID_OFF = 0.15, 0.05  # of the depth, beyond the range of programs: refused, warned of
MOST_ASIDE = 0.75  # of the width, from the middle: half, and blurred positions
SAME_DEPTH = 0.01  # of the depth: places with less spread are readout positions
READOUT_OFF, MAX_READOUTS_OFF = 0.1, 0.05  # of the width, and the share that may be more off
MIN_READOUTS = 20
# For crystals in a table, which has no depth and width: long ones, up to 4 times as wide as high.
UNKNOWN_DEPTH_MM, UNKNOWN_ASIDE = 20.0, 1.0


@dataclass(frozen=True)
class _Offsets:
    """Places relative to the LOR end points of their crystals, in fractions of the crystal."""

    crystal: NDArray[np.int32]
    outwards: NDArray[np.float64]  # of the depth
    aside: NDArray[np.float64]  # of the width or height, the larger
    depth_mm: float
    middle: float  # of the crystal, in `outwards`
    open_range: tuple[float, float]  # of `outwards` of a file as a whole
    crystal_range: tuple[float, float]  # of `outwards` within a crystal
    most_aside: float


def nearest(
    name: str | Path, places_mm: NDArray[np.float64], crystals: Crystals, are_ends: bool = False
) -> NDArray[np.int32]:
    """Return the crystal of every place, -1 for strays.

    Parameters
    ----------
    name : str or Path
        Name of the file, for errors.
    places_mm : float64 array, shape (n, 3)
    crystals : Crystals
    are_ends : bool
        Whether places are ends of lines, which may lie on the faces.

    Returns
    -------
    int32 array, shape (n,)

    Raises
    ------
    InputError
        If places are of another scanner or unit of length.
    """
    if len(places_mm) == 0:
        return np.empty(0, np.int32)
    check_lengths(name, places_mm, crystals.points_mm)
    found = _offsets(places_mm, crystals, are_ends)
    low, high = found.crystal_range
    is_stray = (found.outwards < low) | (found.outwards > high) | (found.aside > found.most_aside)
    num_strays = int(is_stray.sum())
    _check_depth(name, found, ~is_stray | (num_strays > len(places_mm) / 2))
    if num_strays > max(1, MAX_STRAYS * len(places_mm)):
        raise InputError(
            f"{name}: got {num_strays} of {len(places_mm)} singles outside the scanner, expected "
            f"at most {100 * MAX_STRAYS:g} % (another scanner?)"
        )
    if num_strays:
        log.warning(
            "%s: %d of %d singles lie in no crystal: their coincidences are left out",
            name, num_strays, len(places_mm),
        )  # fmt: skip
    _check_readouts(name, found, ~is_stray)
    return np.where(is_stray, np.int32(-1), found.crystal)


def _offsets(places_mm: NDArray[np.float64], crystals: Crystals, are_ends: bool) -> _Offsets:
    _, nearest_one = cKDTree(crystals.points_mm).query(places_mm)
    crystal = nearest_one.astype(np.int32)
    normals = crystals.normals[crystal]
    off_mm = places_mm - crystals.points_mm[crystal]
    along = -(off_mm * normals).sum(axis=1)
    axial = np.array([0.0, 0.0, 1.0]) - normals[:, 2:] * normals
    length = np.linalg.norm(axial, axis=1, keepdims=True)  # 0 where a crystal looks along the axis
    up = np.divide(axial, length, out=np.zeros_like(axial), where=length > 1e-6)
    above_mm = (off_mm * up).sum(axis=1)
    beside_mm = np.sqrt(np.maximum((off_mm**2).sum(axis=1) - along**2 - above_mm**2, 0.0))
    if len(crystals.sizes_mm) == 0:
        size_mm = np.sqrt(crystals.areas_mm2[crystal])
        aside = np.maximum(beside_mm, np.abs(above_mm)) / size_mm
        half = (-0.5, 0.5)
        wide = (-0.5 - MOST_OFF, 0.5 + MOST_OFF)
        return _Offsets(
            crystal,
            along / UNKNOWN_DEPTH_MM,
            aside,
            UNKNOWN_DEPTH_MM,
            0.0,
            half,
            wide,
            UNKNOWN_ASIDE,
        )
    depths_mm, widths_mm, heights_mm = crystals.sizes_mm[crystal].T
    behind_mm = crystals.behind_mm[crystal]
    aside = np.maximum(beside_mm / widths_mm, np.abs(above_mm) / heights_mm)
    depth_mm, front = float(np.median(depths_mm)), -float(np.median(behind_mm / depths_mm))
    middle = front + 0.5
    return _Offsets(
        crystal, along / depths_mm, aside, depth_mm, middle,
        (front if are_ends else min(0.0, middle), max(0.0, middle)),
        (front - MOST_OFF, front + 1 + MOST_OFF), MOST_ASIDE,
    )  # fmt: skip


def _check_depth(name: str | Path, found: _Offsets, is_used: NDArray[np.bool_]) -> None:
    """Refuse places that on average lie before or behind the crystals; warn if only a little."""
    mean = float(found.outwards[is_used].mean())
    low, high = found.open_range
    beyond = max(low - mean, mean - high)
    off = mean - found.middle
    where = (
        f"{abs(off) * found.depth_mm:.1f} mm ({abs(off):.2f} crystals) "
        f"{'farther out' if off > 0 else 'farther in'} than the crystals of --scanner"
    )
    if beyond > MOST_OFF:
        raise InputError(f"{name}: got singles {where}, expected within them (another scanner?)")
    if beyond > SAID_OFF:
        log.warning("%s: singles lie %s on average: is it the scanner of the file?", name, where)


def _check_readouts(name: str | Path, found: _Offsets, is_used: NDArray[np.bool_]) -> None:
    """Refuse readout positions that are not in the middle of crystals."""
    depths, aside = found.outwards[is_used], found.aside[is_used]
    spread = float(np.median(np.abs(depths - np.median(depths)))) if len(depths) else np.inf
    if len(depths) < MIN_READOUTS or spread > SAME_DEPTH:
        return
    share = float((aside > READOUT_OFF).mean())
    if share > MAX_READOUTS_OFF:
        raise InputError(
            f"{name}: got {100 * share:.0f} % of the readout positions more than {READOUT_OFF:g} "
            f"crystals (on average {aside.mean():.2f}) beside the middle of a crystal of "
            "--scanner, expected its crystals (another scanner?)"
        )
