"""Measured lines of response, and the one pass over them that every algorithm is made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct import kernels, projector
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
        r_i / m_i, Bq/mm2.
    """

    points: NDArray[np.float64]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    additive: NDArray[np.float64]


def taken(lines: Lines, rows: NDArray[np.integer]) -> Lines:
    """Return some of the lines; a row may be given more than once (bootstrap)."""
    return Lines(lines.points, lines.first[rows], lines.second[rows], lines.additive[rows])


def forward_sums(image: NDArray[np.floating], grid: Grid, lines: Lines) -> NDArray[np.float64]:
    """Return (P x)_i of every line, shape (n,), without its additive term."""
    return projector.forward(image, grid, lines.points, lines.first, lines.second)


def em_sums(
    image: NDArray[np.float64], grid: Grid, lines: Lines, subset: int, num_subsets: int
) -> NDArray[np.float64]:
    """Project, divide and backproject in one pass over events subset, subset + num_subsets, ...

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        sum P_i^T 1 / ((P x)_i + additive_i).
    """
    chunk_images = projector.empty_chunks(grid)
    kernels.em_sums(
        projector.padded(image).ravel(),
        lines.points,
        lines.first,
        lines.second,
        lines.additive,
        projector.grid_numbers(grid),
        subset,
        num_subsets,
        chunk_images,
    )
    return projector.joined(chunk_images, grid)
