"""Measured lines of response, and the one pass over them that every algorithm is made of."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct.projection import joseph, kernels, parallelproj
from tubepet.types import Grid


@dataclass(frozen=True)
class Lines:
    """Measured LORs, one per event, as `em_sums` takes them.

    Attributes
    ----------
    points : float64 array, shape (m, 3)
        Possible end points (x, y, z), mm.
    first, second : int32 array, shape (n,)
        Rows of `points`.
    additive : float64 array, shape (n,)
        r_i / m_i, Bq/mm2 (with time of flight per mm of `tof_mm`: Bq/mm3).
    tof_mm : float32 array, shape (n,), optional
        Measured position along the line from its middle toward the second end, mm.
    tof_table : float32 array, optional
        `joseph.tof_table`; empty: no time of flight.
    backend : str
        ``numba`` (`joseph`) or ``parallelproj``.
    """

    points: NDArray[np.float64]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    additive: NDArray[np.float64]
    tof_mm: NDArray[np.float32] = field(default_factory=lambda: joseph.NO_TOF)
    tof_table: NDArray[np.float32] = field(default_factory=lambda: joseph.NO_TOF)
    backend: str = "numba"


def taken(lines: Lines, rows: NDArray[np.integer]) -> Lines:
    """Return some of the lines; a row may be given more than once (bootstrap)."""
    tof_mm = lines.tof_mm[rows] if len(lines.tof_table) > 0 else lines.tof_mm
    first, second, additive = lines.first[rows], lines.second[rows], lines.additive[rows]
    return replace(lines, first=first, second=second, additive=additive, tof_mm=tof_mm)


def forward_sums(image: NDArray[np.floating], grid: Grid, lines: Lines) -> NDArray[np.float64]:
    """Return (P x)_i of every line, shape (n,), without its additive term."""
    backend = joseph if lines.backend == "numba" else parallelproj
    return backend.forward(image, grid, *_ends(lines))


def em_sums(
    image: NDArray[np.float64], grid: Grid, lines: Lines, subset: int, num_subsets: int
) -> NDArray[np.float64]:
    """Project, divide and backproject in one pass over events subset, subset + num_subsets, ...

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        sum P_i^T 1 / ((P x)_i + additive_i).
    """
    if lines.backend == "parallelproj":
        part = taken(lines, np.arange(subset, len(lines.first), num_subsets))
        expected = forward_sums(image, grid, part) + part.additive
        ratio = np.divide(1.0, expected, out=np.zeros(len(expected)), where=expected > 0)
        return parallelproj.back(ratio, grid, *_ends(part))
    total = np.zeros(joseph.num_padded(grid))
    kernels.em_sums(
        joseph.padded(image),
        lines.points,
        lines.first,
        lines.second,
        lines.additive,
        lines.tof_mm,
        lines.tof_table,
        joseph.grid_numbers(grid),
        subset,
        num_subsets,
        joseph.private_images(grid),
        total,
    )
    return joseph.unpadded(total, grid)


def _ends(lines: Lines) -> tuple[NDArray[Any], ...]:
    return lines.points, lines.first, lines.second, lines.tof_mm, lines.tof_table
