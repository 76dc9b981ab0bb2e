"""The compiled loops of the stage: line integrals of Gaussian blobs, and means over them.

A blob is a Gaussian with the volume, the middle and the second moments of a defect or a piece of
one. Its integral along a line has a closed form, so it needs no voxels. The blur of the scanner
adds to the moments.
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
LEAST_SINE = 1e-9  # of a line's angle to the axis
FAST = {"reassoc", "contract", "nsz", "arcp"}  # LLVM's flags that do not assume finite numbers


def blob_sums(
    line_blur: LineBlur, rows: NDArray[np.int64], weights: Array, blobs: Array,
    owner: NDArray[np.int64],
) -> NDArray[np.float32]:  # fmt: skip
    """Integrate blobs along lines, with the blur of each line, and add up those of each owner.

    Parameters
    ----------
    line_blur : LineBlur
        Lines and their blur.
    rows : int64 array, shape (n,)
        Which lines.
    weights : float64 array, shape (n,)
        Factor of each line.
    blobs : float64 array, shape (b, 10)
        Content; middle x, y, z (mm); covariance xx, xy, xz, yy, yz, zz (mm2).
    owner : int64 array, shape (b,)
        Number of the defect of each blob: 0, 1, 2, ..., each at least once, rising.

    Returns
    -------
    float32 array, shape (n, number of owners)
        Content per mm2, times the weights.
    """
    places = (blobs[:, 3:0:-1] - line_blur.grid.origin_mm) / line_blur.grid.voxel_mm
    survival = map_coordinates(line_blur.survival, places.T, order=1, mode="nearest")
    table = np.ascontiguousarray(
        np.vstack([blobs[:, 0], survival * blobs[:, 0], blobs[:, 1:].T]), np.float32
    )
    parts = np.zeros((len(line_blur.psfs), 2, 3), np.float32)  # a kernel may have no tail
    for mine, psf in zip(parts, line_blur.of_defects(), strict=True):
        for one, (share, across_mm, along_mm) in zip(mine, sigmas_mm(psf), strict=False):
            one[:] = share / (2 * np.pi), across_mm**2, along_mm**2
    starts = np.searchsorted(owner, np.arange(owner[-1] + 2)) if len(owner) else np.zeros(1, int)
    sums = np.empty((len(rows), len(starts) - 1), np.float32)
    lines = line_blur.lines
    ends = lines.points, lines.first[rows], lines.second[rows]
    of_rows = line_blur.kind[rows], line_blur.counted[rows].astype(np.float32)

    def fill(task: int) -> None:
        begin, end = task * LINES_PER_TASK, min((task + 1) * LINES_PER_TASK, len(rows))
        _sums(*ends, weights, *of_rows, parts, table, starts, begin, end, sums)

    in_threads(fill, math.ceil(len(rows) / LINES_PER_TASK))
    return sums


def blob_means(image: Array, blobs: Array, line_blur: LineBlur) -> Array:
    """Integrate an image over blobs, with the blur that all lines share (`LineBlur.sharing`).

    The blobs take this blur, which makes them wide enough to be sampled at voxels.

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
    table = _prepared(blobs, across_mm, along_mm)
    widths_mm = np.array([across_mm, across_mm, along_mm])
    reach_mm = np.sqrt(2 * NEAR * (blobs[:, [4, 7, 9]] + widths_mm**2))
    grid_mm = np.array([*grid.origin_mm, *grid.voxel_mm])
    sums = np.empty(len(blobs))
    _means(image, grid_mm, table, reach_mm, sums)
    return sums


def _prepared(blobs: Array, across_mm: float, along_mm: float) -> Array:
    """Rows of factor of the density (1/mm3), middle and inverse covariance (6) of blurred blobs."""
    covariance = blobs[:, [4, 5, 6, 5, 7, 8, 6, 8, 9]].reshape(-1, 3, 3).copy()
    covariance += np.diag([across_mm**2, across_mm**2, along_mm**2])
    inverse = np.linalg.inv(covariance)
    factor = blobs[:, 0] / ((2 * np.pi) ** 1.5 * np.sqrt(np.linalg.det(covariance)))
    upper = inverse[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    return np.column_stack([factor, blobs[:, 1:4], upper])


@numba.njit(cache=True, nogil=True, inline="always")
def _decay(half):  # type: ignore[no-untyped-def]
    """Return exp(-half), half from 0 to `REACH`: the 32nd power of six terms of exp(-half / 32).

    It has no branch and no table, so that the compiler does many blobs at once. It is off by 1e-9
    of the value at 6, by 3e-5 at 18.
    """
    one = type(half)(1)
    x = half * type(half)(1 / 32)
    value = one - x * type(half)(1 / 6)
    value = one - x * type(half)(1 / 5) * value
    value = one - x * type(half)(1 / 4) * value
    value = one - x * type(half)(1 / 3) * value
    value = one - x * type(half)(1 / 2) * value
    value = one - x * value
    for _ in range(5):
        value = value * value
    return value


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _means(image, grid_mm, table, reach_mm, sums):  # type: ignore[no-untyped-def]
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
                    total += image[k, j, i] * _decay(min(half, REACH))
        sums[m] = content * total


@numba.njit(cache=True, nogil=True, inline="always")
def _crossed(qu, qv, uu, uv, vv, part):  # type: ignore[no-untyped-def]
    """Return the density of a blob at (qu, qv) in the plane across a line, per mm2 times 2 pi."""
    uu, vv = uu + part[1], vv + part[2]
    root = np.float32(1) / np.sqrt(uu * vv - uv * uv)
    far = (vv * qu - uv * qv) * qu + (uu * qv - uv * qu) * qv
    half = np.float32(0.5) * far * root * root
    return part[0] * root * _decay(min(max(half, np.float32(0)), np.float32(REACH)))


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _sums(points, first, second, weights, kind, counted, parts, table, starts, begin, end, sums):  # type: ignore[no-untyped-def]
    """Fill in rows begin, ..., end - 1.

    The plane across a line sees a blob as a Gaussian in two dimensions. Its axes are u, in planes
    of constant z, and v; the blur adds to the variances along both.
    """
    core, tail, x, y, z = table[0], table[1], table[2], table[3], table[4]
    xx, xy, xz, yy, yz, zz = table[5], table[6], table[7], table[8], table[9], table[10]
    values = np.empty(table.shape[1], np.float32)
    for n in range(begin, end):
        i, j = first[n], second[n]
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        nx, ny, nz = points[j, 0] - px, points[j, 1] - py, points[j, 2] - pz
        length = math.sqrt(nx * nx + ny * ny + nz * nz)
        nx, ny, nz = nx / length, ny / length, nz / length
        sine = math.sqrt(nx * nx + ny * ny)
        ux, uy = (-ny / sine, nx / sine) if sine > LEAST_SINE else (1.0, 0.0)
        vx, vy, vz = -nz * uy, nz * ux, nx * uy - ny * ux
        bu, bv = np.float32(px * ux + py * uy), np.float32(px * vx + py * vy + pz * vz)
        # of the covariance, along u and u, u and v, v and v
        ux_ux, ux_uy, uy_uy = np.float32(ux * ux), np.float32(2 * ux * uy), np.float32(uy * uy)
        ux_vx, uy_vy, cross = (
            np.float32(ux * vx),
            np.float32(uy * vy),
            np.float32(ux * vy + uy * vx),
        )
        ux_vz, uy_vz = np.float32(ux * vz), np.float32(uy * vz)
        vx_vx, vy_vy, vz_vz = np.float32(vx * vx), np.float32(vy * vy), np.float32(vz * vz)
        vx_vy, vx_vz, vy_vz = (
            np.float32(2 * vx * vy), np.float32(2 * vx * vz), np.float32(2 * vy * vz)
        )  # fmt: skip
        ax, ay = np.float32(ux), np.float32(uy)
        cx, cy, cz = np.float32(vx), np.float32(vy), np.float32(vz)
        # of core and tail: share, variance along u, variance along v
        weight, flat = np.float32(weights[n]), vx_vx + vy_vy
        share, across, along = parts[kind[n], 0]
        near = (share * counted[n, 0] * weight, across, across * flat + along * vz_vz)
        share, across, along = parts[kind[n], 1]
        wide = (share * counted[n, 1] * weight, across, across * flat + along * vz_vz)
        for m in range(len(values)):
            qu = ax * x[m] + ay * y[m] - bu
            qv = cx * x[m] + cy * y[m] + cz * z[m] - bv
            uu = ux_ux * xx[m] + ux_uy * xy[m] + uy_uy * yy[m]
            uv = ux_vx * xx[m] + cross * xy[m] + ux_vz * xz[m] + uy_vy * yy[m] + uy_vz * yz[m]
            vv = vx_vx * xx[m] + vx_vy * xy[m] + vx_vz * xz[m]
            vv += vy_vy * yy[m] + vy_vz * yz[m] + vz_vz * zz[m]
            value = core[m] * _crossed(qu, qv, uu, uv, vv, near)
            values[m] = value + tail[m] * _crossed(qu, qv, uu, uv, vv, wide)
        for k in range(len(starts) - 1):
            total = np.float32(0)
            for m in range(starts[k], starts[k + 1]):
                total += values[m]
            sums[n, k] = total
