"""Line integrals through a voxel image by Joseph's method, and their exact adjoint.

Joseph (1982, doi:10.1109/TMI.1982.4307572): walk along the axis on which the line crosses most
voxel planes, interpolate bilinearly in each plane, weight with the line's length per plane. Lines
may run in any direction; a line that ends inside the image counts the planes between its ends.

Sums are float64, in a fixed number of parts that are added in order: results do not depend on the
number of threads.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct import kernels
from tubepet.types import Grid


def use_threads(num_threads: int) -> None:
    """Let the kernels use this many threads (or as many as there are)."""
    numba.set_num_threads(min(num_threads, numba.config.NUMBA_NUM_THREADS))


def grid_numbers(grid: Grid) -> NDArray[np.float64]:
    """Return a grid as the kernels take it: shape, voxel size and origin (mm), each (z, y, x)."""
    return np.array([*grid.shape, *grid.voxel_mm, *grid.origin_mm], dtype=np.float64)


def padded(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the image with one voxel of zeros around it, as float64."""
    return np.pad(np.asarray(image, dtype=np.float64), 1)


def forward(
    image: NDArray[np.floating],
    grid: Grid,
    points: NDArray[np.float64],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Integrate an image along lines.

    Parameters
    ----------
    image : array, shape (nz, ny, nx)
        Values per mm (or per mm3: the integral then has the unit per mm2).
    grid : Grid
    points : float64 array, shape (m, 3)
        Possible end points (x, y, z), mm.
    first, second : int array, shape (n,)
        Line n joins ``points[first[n]]`` and ``points[second[n]]``.

    Returns
    -------
    float64 array, shape (n,)
        Line integrals, unit of the image times mm.
    """
    assert image.shape == grid.shape
    return kernels.forward_sums(padded(image).ravel(), points, first, second, grid_numbers(grid))


def back(
    values: NDArray[np.float64],
    grid: Grid,
    points: NDArray[np.float64],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Spread values along lines: the adjoint of `forward`, same parameters.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
    """
    chunk_images = empty_chunks(grid)
    values = np.asarray(values, np.float64)
    kernels.back_sums(values, points, first, second, grid_numbers(grid), chunk_images)
    return joined(chunk_images, grid)


def empty_chunks(grid: Grid) -> NDArray[np.float64]:
    """One flat padded image of zeros per chunk."""
    return np.zeros((kernels.NUM_CHUNKS, int(np.prod([n + 2 for n in grid.shape]))))


def joined(chunk_images: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Add the private images of the chunks in order and take off the padding."""
    nz, ny, nx = grid.shape
    return chunk_images.sum(axis=0).reshape(nz + 2, ny + 2, nx + 2)[1:-1, 1:-1, 1:-1]
