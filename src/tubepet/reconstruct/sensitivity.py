"""Sensitivity image: expected counts per Bq/mm3 and second of every voxel, over all allowed pairs.

s_v = sum over LORs of area(LOR) * attenuation(LOR) * weight(LOR, v), with the area of
`geometry.lor_areas_mm2` and the Joseph weights of `projector`. No list of LORs is made.

For a tube the exact sum without attenuation, shared by all tubes, is multiplied by the ratio of
the attenuated to the plain sum over the same regular subset of LORs (a control variate: the
subset's own sampling pattern divides out; `stride` 1 is exact).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct import geometry, kernels, projector
from tubepet.types import Grid, Scanner, Volume

# Sums of a subset are smoothed before their ratio is taken: attenuation factors vary slowly, the
# subset's sampling noise does not.
RATIO_SIGMA_VOXELS = 0.5


def _steps_through(grid: Grid, scanner: Scanner) -> NDArray[np.int64]:
    """Return allowed column steps whose lines can touch the image."""
    _, y_mm, x_mm = (
        np.abs(axis).max() + size for axis, size in zip(grid.axes_mm(), grid.voxel_mm, strict=True)
    )
    is_near = geometry.axis_distances_mm(scanner) <= math.hypot(x_mm, y_mm)
    return np.flatnonzero(geometry.is_allowed_step(scanner) & is_near)


def geometric_sensitivity(
    scanner: Scanner, grid: Grid, efficiency: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Exact sum over all allowed pairs, without attenuation.

    If quarter turns map scanner and grid onto themselves, one quarter of the columns is summed and
    turned.

    Parameters
    ----------
    efficiency : float64 array, shape (num_columns // 2 + 1, num_rings)
        Pair efficiency by column step and ring difference (`calibrate`).

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Counts per second per Bq/mm3 in the voxel (mm3).
    """
    quarter = scanner.num_columns // 4 if _has_quarter_turns(scanner, grid) else 0
    plain = projector.empty_chunks(grid)
    no_mu, no_sum = Volume(np.zeros(grid.shape), grid), plain[:0]
    _run(scanner, grid, efficiency, quarter or scanner.num_columns, 1, no_mu, plain, no_sum)
    image = projector.joined(plain, grid)
    if quarter:
        half = image + np.rot90(image, 2, axes=(1, 2))
        image = half + np.rot90(half, 1, axes=(1, 2))
    pairs = geometry.num_column_pairs(scanner) * geometry.is_allowed_step(scanner)
    log.info(
        "%.4g crystal pairs in, %d voxels out; mean probability to count a decay %.4f",
        pairs.sum() * scanner.num_rings**2,
        image.size,
        image.mean() / grid.voxel_volume_mm3,
    )
    return image


def attenuated_sensitivity(
    geometric: NDArray[np.floating],
    scanner: Scanner,
    grid: Grid,
    efficiency: NDArray[np.float64],
    mu: Volume,
    stride: int,
) -> NDArray[np.float64]:
    """Sensitivity with an attenuating object.

    Parameters
    ----------
    geometric : array, shape (nz, ny, nx)
        From `geometric_sensitivity`.
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    stride : int
        Every `stride`-th LOR is summed; 1: all.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Counts per second per Bq/mm3 in the voxel (mm3).

    Raises
    ------
    InputError
        If the subset leaves out voxels.
    """
    plain_chunks, weakened_chunks = projector.empty_chunks(grid), projector.empty_chunks(grid)
    _run(scanner, grid, efficiency, scanner.num_columns, stride, mu, plain_chunks, weakened_chunks)
    plain, weakened = projector.joined(plain_chunks, grid), projector.joined(weakened_chunks, grid)
    if stride > 1:
        plain, weakened = (
            gaussian_filter(total, RATIO_SIGMA_VOXELS, mode="reflect")
            for total in (plain, weakened)
        )
    if np.any((plain <= 0) & (geometric > 0)):
        raise InputError(
            f"reconstruct.sensitivity_stride: got {stride}, which leaves voxels without any line, "
            "expected a smaller number"
        )
    ratio = np.divide(weakened, plain, out=np.zeros(grid.shape), where=plain > 0)
    return geometric.astype(np.float64) * ratio


def _has_quarter_turns(scanner: Scanner, grid: Grid) -> bool:
    _, y, x = grid.axes_mm()
    is_square = len(y) == len(x) and np.allclose(y, x)
    return bool(scanner.num_columns % 4 == 0 and is_square and np.allclose(x, -x[::-1]))


def _run(
    scanner: Scanner,
    grid: Grid,
    efficiency: NDArray[np.float64],
    num_starts: int,
    stride: int,
    mu: Volume,
    plain: NDArray[np.float64],
    weakened: NDArray[np.float64],
) -> None:
    kernels.lor_sums(
        geometry.crystal_points_mm(scanner),
        geometry.lor_areas_mm2(scanner, efficiency),
        _steps_through(grid, scanner),
        scanner.num_rings,
        scanner.num_columns,
        num_starts,
        stride,
        projector.grid_numbers(grid),
        projector.padded(mu.array).ravel(),
        projector.grid_numbers(mu.grid),
        plain,
        weakened,
    )
