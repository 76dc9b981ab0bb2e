"""Line integrals through a voxel image by Joseph's method, and their exact adjoint.

Joseph (1982, doi:10.1109/TMI.1982.4307572): walk along the axis on which the line crosses most
voxel planes, interpolate bilinearly in each plane, weight with the line's length per plane. Lines
may run in any direction; a line that ends inside the image counts the planes between its ends.

Lines are followed in float32, which is good to 1e-6; sums over lines are float64, in parts that are
added in order: results do not depend on the number of threads.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct.projection import kernels
from tubepet.types import Grid

TOF_REACH_SIGMAS = 3
# linear interpolation is then good to 2e-6 of the kernel's peak
TOF_POINTS_PER_SIGMA = 256
NO_TOF = np.empty(0, np.float32)


def use_threads(num_threads: int) -> None:
    """Let the kernels use this many threads (or as many as there are)."""
    numba.set_num_threads(min(num_threads, numba.config.NUMBA_NUM_THREADS))


def grid_numbers(grid: Grid) -> NDArray[np.float64]:
    """Return a grid as the kernels take it: shape, voxel size and origin (mm), each (z, y, x)."""
    return np.array([*grid.shape, *grid.voxel_mm, *grid.origin_mm], dtype=np.float64)


def padded(image: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the image flat, as the kernels take it: float32, axes (y, x, z), zeros around."""
    moved = np.asarray(image, dtype=np.float32).transpose(1, 2, 0)
    return np.pad(moved, (1, 2)).ravel()


def unpadded(flat: NDArray[np.floating], grid: Grid) -> NDArray[np.float64]:
    """Return an image as the kernels make it with axes (z, y, x) and without padding."""
    nz, ny, nx = grid.shape
    image = flat.reshape(ny + 3, nx + 3, nz + 3)[1:-2, 1:-2, 1:-2].transpose(2, 0, 1)
    return np.ascontiguousarray(image, dtype=np.float64)


def num_padded(grid: Grid) -> int:
    """Return the length of a padded image."""
    return math.prod(n + 3 for n in grid.shape)


def private_images(grid: Grid, num_images: int | None = None) -> NDArray[np.float32]:
    """One empty padded image per thread, or as many as are asked for."""
    return np.zeros((num_images or numba.get_num_threads(), num_padded(grid)), np.float32)


def tof_table(sigma_mm: float) -> NDArray[np.float32]:
    """Tabulate the time-of-flight kernel for `kernels.weigh`.

    A Gaussian around the measured position along the line, cut at `TOF_REACH_SIGMAS` and normalised
    to 1. With t1 and t2 the times at the first and second end, the position is c (t1 - t2) / 2 from
    the middle toward the second end; singles of FWHM w give a sigma of c sqrt(2) w / 2 / 2.355.

    Parameters
    ----------
    sigma_mm : float
        Standard deviation of the position along the line, mm.

    Returns
    -------
    float32 array
        1/mm; the last two entries are the reach (mm) and the points per mm.
    """
    reach_mm = TOF_REACH_SIGMAS * sigma_mm
    num = 2 * TOF_REACH_SIGMAS * TOF_POINTS_PER_SIGMA + 1
    at_sigmas = np.linspace(-TOF_REACH_SIGMAS, TOF_REACH_SIGMAS, num)
    kernel = np.exp(-(at_sigmas**2) / 2) / (math.sqrt(2 * math.pi) * sigma_mm)
    kernel /= math.erf(TOF_REACH_SIGMAS / math.sqrt(2))
    # one entry more, for the interpolation at the very end
    entries = [*kernel, 0.0, reach_mm, TOF_POINTS_PER_SIGMA / sigma_mm]
    return np.array(entries, dtype=np.float32)


def tof_sigma_mm(table: NDArray[np.float32]) -> float:
    """Return the standard deviation that a `tof_table` was made for, mm."""
    return float(table[-2]) / TOF_REACH_SIGMAS


def forward(
    image: NDArray[np.floating],
    grid: Grid,
    points: NDArray[np.float64],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    tof_mm: NDArray[np.floating] = NO_TOF,
    table: NDArray[np.float32] = NO_TOF,
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
    tof_mm : float array, shape (n,), optional
        Measured position along each line from its middle toward the second end, mm.
    table : float32 array, optional
        `tof_table`; with it the image is weighted along each line by the kernel around `tof_mm`
        (1/mm), without it not.

    Returns
    -------
    float64 array, shape (n,)
        Line integrals, unit of the image times mm (with `table`: unit of the image).
    """
    assert image.shape == grid.shape
    return kernels.forward_sums(
        padded(image), points, first, second, tof_mm, table, grid_numbers(grid)
    )


def back(
    values: NDArray[np.float64],
    grid: Grid,
    points: NDArray[np.float64],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    tof_mm: NDArray[np.floating] = NO_TOF,
    table: NDArray[np.float32] = NO_TOF,
) -> NDArray[np.float64]:
    """Spread values along lines: the adjoint of `forward`, same parameters.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
    """
    values, total = np.asarray(values, np.float64), np.zeros(num_padded(grid))
    numbers, private = grid_numbers(grid), private_images(grid)
    kernels.back_sums(values, points, first, second, tof_mm, table, numbers, private, total)
    return unpadded(total, grid)
