"""The compiled loops of the stage: line integrals of Gaussian blobs, and means over them.

The integral of a Gaussian of any covariance along a line has a closed form, so a defect needs no
voxels: its volume, its middle and its second moments say what a line counts of it, after the blur
of the scanner, which adds to the moments.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.reconstruct.projection.blur import sigmas_mm
from tubepet.reconstruct.projection.kernels import in_threads
from tubepet.reconstruct.projection.line_blur import LINES_ADD, LineBlur

Array = NDArray[np.float64]
REACH = 18  # half the squared distance, in standard deviations, beyond which a blob is 0
NEAR = 10  # the same, for sums over voxels
LINES_PER_TASK = 512


# exp(-distance) is read off a table, which the compiler can do for many blobs at once
STEPS_PER_UNIT = 256
EXP = np.exp(-np.arange(REACH * STEPS_PER_UNIT + 2) / STEPS_PER_UNIT).astype(np.float32)


def blob_sums(
    line_blur: LineBlur, rows: NDArray[np.int64], weights: Array, blobs: Array,
    owner: NDArray[np.int64],
) -> NDArray[np.float32]:  # fmt: skip
    """Integrate blobs along lines, after the blur of each line, and add up those of each owner.

    Parameters
    ----------
    line_blur : LineBlur
        Of the lines.
    rows : int64 array, shape (n,)
        Which lines.
    weights : float64 array, shape (n,)
        Factor of each line.
    blobs : float64 array, shape (b, 10)
        Content; middle x, y, z (mm); covariance xx, xy, xz, yy, yz, zz (mm2).
    owner : int64 array, shape (b,)
        0, 1, 2, ..., each at least once, rising.

    Returns
    -------
    float32 array, shape (n, number of owners)
        Content per mm2, times the weights.
    """
    places = (blobs[:, 3:0:-1] - line_blur.grid.origin_mm) / line_blur.grid.voxel_mm
    survival = map_coordinates(line_blur.survival, places.T, order=1, mode="nearest")
    of_tail = np.column_stack([survival * blobs[:, 0], blobs[:, 1:]])
    table = np.stack([
        np.stack([
            _prepared(mine, 2, *part).T
            for mine, part in zip((blobs, of_tail), sigmas_mm(psf), strict=False)
        ])
        for psf in line_blur.of_defects()
    ])  # fmt: skip
    starts = np.searchsorted(owner, np.arange(owner[-1] + 2)) if len(owner) else np.zeros(1, int)
    sums = np.zeros((len(rows), len(starts) - 1), np.float32)
    lines = line_blur.lines
    ends = lines.points, lines.first[rows], lines.second[rows]
    table = np.ascontiguousarray(table, np.float32)
    of_rows = line_blur.kind[rows], line_blur.counted[rows].astype(np.float32)

    def fill(task: int) -> None:
        begin, end = task * LINES_PER_TASK, min((task + 1) * LINES_PER_TASK, len(rows))
        _sums(*ends, weights, *of_rows, table, EXP, starts, begin, end, sums)

    in_threads(fill, math.ceil(len(rows) / LINES_PER_TASK))
    return sums


def blob_means(image: Array, blobs: Array, line_blur: LineBlur) -> Array:
    """Integrate an image over blobs, after the blur that all lines share (`LineBlur.sharing`).

    It is added to the blobs, which makes them wide enough to be sampled at voxels.

    Parameters
    ----------
    image : float64 array, shape (nz, ny, nx)
        On the grid of `line_blur`, as of `LineBlur.gathered_but_shared`: line integrals have added
        some blur to it.
    blobs : float64 array, shape (b, 10)
        As of `blob_sums`.

    Returns
    -------
    float64 array, shape (b,)
        Sum over voxels of the image times the blurred content per mm3.
    """
    shared, grid = line_blur.shared(), line_blur.grid
    across_mm, along_mm = (
        math.sqrt(max((fwhm_mm / FWHM_PER_SIGMA) ** 2 - LINES_ADD * voxel_mm**2, 0.0))
        for fwhm_mm, voxel_mm in zip(shared[1:], grid.voxel_mm[::-1][::2], strict=True)
    )
    table = _prepared(blobs, 3, 1.0, across_mm, along_mm)
    widths_mm = np.array([across_mm, across_mm, along_mm])
    reach_mm = np.sqrt(2 * NEAR * (blobs[:, [4, 7, 9]] + widths_mm**2))
    grid_mm = np.array([*grid.origin_mm, *grid.voxel_mm])
    sums = np.empty(len(blobs))
    _means(image, grid_mm, table, reach_mm, EXP, sums)
    return sums


def _prepared(
    blobs: Array, dimensions: int, share: float, across_mm: float, along_mm: float
) -> Array:
    """Rows of factor, middle and inverse covariance (6), blurred by one part of the kernel.

    The factor is that of a density per mm3, or of its integral along a line (2 dimensions), which
    takes the covariance along the line on top.
    """
    covariance = blobs[:, [4, 5, 6, 5, 7, 8, 6, 8, 9]].reshape(-1, 3, 3).copy()
    covariance += np.diag([across_mm**2, across_mm**2, along_mm**2])
    inverse = np.linalg.inv(covariance)
    scale = (2 * np.pi) ** (dimensions / 2) * np.sqrt(np.linalg.det(covariance))
    factor = share * blobs[:, 0] / scale
    upper = inverse[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    return np.column_stack([factor, blobs[:, 1:4], upper])


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def _means(image, grid_mm, table, reach_mm, exp, sums):  # type: ignore[no-untyped-def]
    """Add the sums over the voxels around each blob."""
    nz, ny, nx = image.shape
    z0, y0, x0, dz, dy, dx = grid_mm
    for m in range(len(table)):
        content, x, y, z, xx, xy, xz, yy, yz, zz = table[m]
        rx, ry, rz = reach_mm[m]
        first, last = max(math.ceil((x - rx - x0) / dx), 0), min(int((x + rx - x0) / dx), nx - 1)
        total = 0.0
        for k in range(
            max(math.ceil((z - rz - z0) / dz), 0), min(int((z + rz - z0) / dz), nz - 1) + 1
        ):
            qz = z0 + k * dz - z
            for j in range(
                max(math.ceil((y - ry - y0) / dy), 0), min(int((y + ry - y0) / dy), ny - 1) + 1
            ):
                qy = y0 + j * dy - y
                square, slope = yy * qy * qy + 2 * yz * qy * qz + zz * qz * qz, xy * qy + xz * qz
                for i in range(first, last + 1):
                    qx = x0 + i * dx - x
                    half = 0.5 * (xx * qx * qx + 2 * slope * qx + square)
                    at = min(half, REACH) * STEPS_PER_UNIT
                    low = int(at)
                    value = exp[low] + (at - low) * (exp[low + 1] - exp[low])
                    total += image[k, j, i] * value
        sums[m] = content * total


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def _sums(points, first, second, weights, kind, counted, tables, exp, starts, begin, end, sums):  # type: ignore[no-untyped-def]
    """Fill in rows begin, ..., end - 1."""
    half, two, steps = np.float32(0.5), np.float32(2), np.float32(STEPS_PER_UNIT)
    reach = np.float32(REACH)
    values = np.empty(tables.shape[3], np.float32)
    for n in range(begin, end):
        table = tables[kind[n]]
        i, j = first[n], second[n]
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        nx, ny, nz = points[j, 0] - px, points[j, 1] - py, points[j, 2] - pz
        length = math.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx / length, ny / length, nz / length
        # from the point nearest to the origin: float32 is then good to 1e-6 of the object's size
        along = px * nx + py * ny + pz * nz
        bx, by, bz = (
            np.float32(px - along * nx), np.float32(py - along * ny), np.float32(pz - along * nz)
        )  # fmt: skip
        ax, ay, az = np.float32(nx), np.float32(ny), np.float32(nz)
        values[:] = 0
        for part in range(len(table)):
            content, x, y, z = table[part, 0], table[part, 1], table[part, 2], table[part, 3]
            xx, xy, xz = table[part, 4], table[part, 5], table[part, 6]
            yy, yz, zz = table[part, 7], table[part, 8], table[part, 9]
            factor = counted[n, part]
            for m in range(len(values)):
                qx, qy, qz = x[m] - bx, y[m] - by, z[m] - bz
                sx = xx[m] * ax + xy[m] * ay + xz[m] * az
                sy = xy[m] * ax + yy[m] * ay + yz[m] * az
                sz = xz[m] * ax + yz[m] * ay + zz[m] * az
                nn = sx * ax + sy * ay + sz * az
                qn = sx * qx + sy * qy + sz * qz
                qq = (xx[m] * qx + (xy[m] * qy + xz[m] * qz) * two) * qx
                qq += (yy[m] * qy + two * yz[m] * qz) * qy + zz[m] * qz * qz
                at = min(max(half * (qq - qn * qn / nn), np.float32(0)), reach) * steps
                low = np.int32(at)
                value = exp[np.uint32(low)]
                value += (at - np.float32(low)) * (exp[np.uint32(low) + np.uint32(1)] - value)
                values[m] += factor * content[m] * value / np.sqrt(nn)
        weight = np.float32(weights[n])
        for k in range(len(starts) - 1):
            total = np.float32(0)
            for m in range(starts[k], starts[k + 1]):
                total += values[m]
            sums[n, k] = weight * total
