"""Line integrals through a voxel image by Joseph's method, and their exact adjoint.

Joseph (1982, doi:10.1109/TMI.1982.4307572): walk along the axis on which the line crosses most
voxel planes, interpolate bilinearly in each plane, weight with the line's length per plane. Lines
may run in any direction; a line that ends inside the image counts the planes between its ends.

Images are padded with one voxel of zeros, so that the inner loops need no bounds tests. Work is
split into a fixed number of chunks with private float64 images, added in order: results do not
depend on the number of threads.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from tubepet.types import Grid

NUM_CHUNKS = 8
# Keeps interpolation indices inside the padding when rounding pushes a line over the image's rim.
RIM = 1e-9

Ray = tuple[int, int, int, int, int, float, float, float, float, float]


def use_threads(num_threads: int) -> None:
    """Let the kernels use this many threads (or as many as there are)."""
    numba.set_num_threads(min(num_threads, numba.config.NUMBA_NUM_THREADS))


def grid_numbers(grid: Grid) -> NDArray[np.float64]:
    """Return a grid as the kernels take it: shape, voxel size and origin (mm), each (z, y, x)."""
    return np.array([*grid.shape, *grid.voxel_mm, *grid.origin_mm], dtype=np.float64)


def padded(image: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the image with one voxel of zeros around it, as float64."""
    return np.pad(np.asarray(image, dtype=np.float64), 1)


@numba.njit(cache=True, inline="always")
def clip_range(
    first: int, last: int, start: float, slope: float, num: int
) -> tuple[int, int]:  # pragma: no cover
    """Narrow planes first..last to those where -1 < start + slope * plane < num."""
    if slope == 0.0:
        if start <= -1.0 + RIM or start >= num - RIM:
            return first, first - 1
        return first, last
    a, b = (-1.0 + RIM - start) / slope, (num - RIM - start) / slope
    if a > b:
        a, b = b, a
    # a or b may be far outside the int64 range for nearly parallel lines
    if a > first:
        first = math.ceil(min(a, last + 1.0))
    if b < last:
        last = math.floor(max(b, first - 1.0))
    return first, last


@numba.njit(cache=True)
def ray(points, i, j, grid) -> Ray:  # type: ignore[no-untyped-def]
    """Prepare the walk from point i to point j through a padded image.

    Returns
    -------
    first, last : planes to visit (last < first: the line misses the image)
    stride0, stride1, stride2 : strides in the padded image along the walk and across it
    u, du, v, dv : padded coordinates across the walk at plane 0, and their change per plane
    step_mm : length of the line per plane
    """
    num0, num1, num2 = grid[0], grid[1], grid[2]
    z = (points[i, 2] - grid[6]) / grid[3]
    y = (points[i, 1] - grid[7]) / grid[4]
    x = (points[i, 0] - grid[8]) / grid[5]
    dz = (points[j, 2] - points[i, 2]) / grid[3]
    dy = (points[j, 1] - points[i, 1]) / grid[4]
    dx = (points[j, 0] - points[i, 0]) / grid[5]
    stride_y = int(num2) + 2
    stride_z = (int(num1) + 2) * stride_y
    if abs(dx) >= abs(dy) and abs(dx) >= abs(dz):
        start, change, num, stride0 = x, dx, num2, 1
        u, du, num_u, stride1 = z, dz, num0, stride_z
        v, dv, num_v, stride2 = y, dy, num1, stride_y
    elif abs(dy) >= abs(dz):
        start, change, num, stride0 = y, dy, num1, stride_y
        u, du, num_u, stride1 = z, dz, num0, stride_z
        v, dv, num_v, stride2 = x, dx, num2, 1
    else:
        start, change, num, stride0 = z, dz, num0, stride_z
        u, du, num_u, stride1 = y, dy, num1, stride_y
        v, dv, num_v, stride2 = x, dx, num2, 1
    if change == 0.0:  # both ends in one point
        return 0, -1, stride0, stride1, stride2, 0.0, 0.0, 0.0, 0.0, 0.0
    low, high = min(start, start + change), max(start, start + change)
    first = math.ceil(max(low, 0.0))
    last = math.floor(min(high, num - 1.0))
    du, dv = du / change, dv / change
    u, v = u - start * du, v - start * dv
    first, last = clip_range(first, last, u, du, int(num_u))
    first, last = clip_range(first, last, v, dv, int(num_v))
    length_mm = math.sqrt((dz * grid[3]) ** 2 + (dy * grid[4]) ** 2 + (dx * grid[5]) ** 2)
    step_mm = length_mm / abs(change)
    return first, last, stride0, stride1, stride2, u + 1.0, du, v + 1.0, dv, step_mm


@numba.njit(cache=True)
def gather(flat, walk) -> float:  # type: ignore[no-untyped-def]
    """Line integral of a flat padded image along a prepared walk."""
    first, last, stride0, stride1, stride2, u0, du, v0, dv, step_mm = walk
    total = 0.0
    for plane in range(first, last + 1):
        u, v = u0 + du * plane, v0 + dv * plane
        iu, iv = int(u), int(v)
        fu, fv = u - iu, v - iv
        at = (plane + 1) * stride0 + iu * stride1 + iv * stride2
        near = flat[at] + fv * (flat[at + stride2] - flat[at])
        at += stride1
        far = flat[at] + fv * (flat[at + stride2] - flat[at])
        total += near + fu * (far - near)
    return total * step_mm


@numba.njit(cache=True)
def scatter(flat, walk, value) -> None:  # type: ignore[no-untyped-def]
    """Add `value` times the weights of a prepared walk: the adjoint of `gather`."""
    first, last, stride0, stride1, stride2, u0, du, v0, dv, step_mm = walk
    value *= step_mm
    for plane in range(first, last + 1):
        u, v = u0 + du * plane, v0 + dv * plane
        iu, iv = int(u), int(v)
        fu, fv = (u - iu) * value, v - iv
        at = (plane + 1) * stride0 + iu * stride1 + iv * stride2
        near = value - fu
        flat[at] += near - near * fv
        flat[at + stride2] += near * fv
        at += stride1
        flat[at] += fu - fu * fv
        flat[at + stride2] += fu * fv


@numba.njit(cache=True, parallel=True)
def _forward(flat, points, first, second, grid):  # type: ignore[no-untyped-def]
    num = len(first)
    sums = np.empty(num)
    for chunk in numba.prange(NUM_CHUNKS):
        for n in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            sums[n] = gather(flat, ray(points, first[n], second[n], grid))
    return sums


@numba.njit(cache=True, parallel=True)
def _back(values, points, first, second, grid, chunk_images):  # type: ignore[no-untyped-def]
    num = len(first)
    for chunk in numba.prange(NUM_CHUNKS):
        for n in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            walk = ray(points, first[n], second[n], grid)
            scatter(chunk_images[chunk], walk, values[n])


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
    return _forward(padded(image).ravel(), points, first, second, grid_numbers(grid))


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
    _back(np.asarray(values, np.float64), points, first, second, grid_numbers(grid), chunk_images)
    return joined(chunk_images, grid)


def empty_chunks(grid: Grid) -> NDArray[np.float64]:
    """One flat padded image of zeros per chunk."""
    return np.zeros((NUM_CHUNKS, int(np.prod([n + 2 for n in grid.shape]))))


def joined(chunk_images: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Add the private images of the chunks in order and take off the padding."""
    nz, ny, nx = grid.shape
    return chunk_images.sum(axis=0).reshape(nz + 2, ny + 2, nx + 2)[1:-1, 1:-1, 1:-1]
