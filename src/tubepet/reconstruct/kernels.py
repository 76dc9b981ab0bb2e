"""All compiled loops of the stage: walks along lines through padded images.

They are in one file because numba's cache looks at the file of a kernel only: a kernel elsewhere
would go on with old code after an edit here. What they compute is described in `projector`,
`sensitivity` and `mlem`, which are their only callers.

Images are flat float64 arrays padded with one voxel of zeros, so that the inner loops need no
bounds tests. Work is split into `NUM_CHUNKS` parts with private images: results do not depend on
the number of threads.
"""

import math

import numba
import numpy as np

NUM_CHUNKS = 8
# Keeps interpolation indices inside the padding when rounding pushes a line over the image's rim.
RIM = 1e-9

# Lets the compiler add up a line in vectors; the order is fixed for a kind of CPU.
REORDER = {"reassoc", "contract", "nsz"}
INDEX = np.uint64  # spares numba its test for negative indices

Ray = tuple[int, int, int, int, int, float, float, float, float, float]
# Steps of Roberts' R3 sequence (powers of 1/1.2207..., the root of x^4 = x + 1): the subset's first
# ring runs through all residues evenly over rings, column steps and columns.
R3 = (0.8191725134, 0.6710436067, 0.5497004779)


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


@numba.njit(cache=True, fastmath=REORDER)
def gather(flat, walk) -> float:  # type: ignore[no-untyped-def]
    """Line integral of a flat padded image along a prepared walk."""
    first, last, stride0, stride1, stride2, u0, du, v0, dv, step_mm = walk
    total = 0.0
    for plane in range(first, last + 1):
        u, v = u0 + du * plane, v0 + dv * plane
        iu, iv = int(u), int(v)
        fu, fv = u - iu, v - iv
        at = (plane + 1) * stride0 + iu * stride1 + iv * stride2
        low = flat[INDEX(at)]
        near = low + fv * (flat[INDEX(at + stride2)] - low)
        at += stride1
        low = flat[INDEX(at)]
        far = low + fv * (flat[INDEX(at + stride2)] - low)
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
        far = (u - iu) * value
        near = value - far
        fv = v - iv
        at = (plane + 1) * stride0 + iu * stride1 + iv * stride2
        flat[INDEX(at)] += near - near * fv
        flat[INDEX(at + stride2)] += near * fv
        at += stride1
        flat[INDEX(at)] += far - far * fv
        flat[INDEX(at + stride2)] += far * fv


@numba.njit(cache=True, parallel=True)
def forward_sums(flat, points, first, second, grid):  # type: ignore[no-untyped-def]
    """Line integral of every line."""
    num = len(first)
    sums = np.empty(num)
    for chunk in numba.prange(NUM_CHUNKS):
        for n in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            sums[n] = gather(flat, ray(points, first[n], second[n], grid))
    return sums


@numba.njit(cache=True, parallel=True)
def back_sums(values, points, first, second, grid, chunk_images):  # type: ignore[no-untyped-def]
    """Add the values along their lines to the chunks' images."""
    num = len(first)
    for chunk in numba.prange(NUM_CHUNKS):
        for n in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            walk = ray(points, first[n], second[n], grid)
            scatter(chunk_images[chunk], walk, values[n])


@numba.njit(cache=True, parallel=True)
def em_sums(  # type: ignore[no-untyped-def]
    flat, points, first, second, additive, grid, subset, num_subsets, chunk_images
):
    """Project, divide, backproject events subset, subset + num_subsets, ... in one pass."""
    num = (len(first) - subset + num_subsets - 1) // num_subsets
    for chunk in numba.prange(NUM_CHUNKS):
        for i in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            n = subset + i * num_subsets
            walk = ray(points, first[n], second[n], grid)
            total = gather(flat, walk) + additive[n]
            if total > 0.0:
                scatter(chunk_images[chunk], walk, 1.0 / total)


@numba.njit(cache=True, parallel=True)
def lor_sums(  # type: ignore[no-untyped-def]
    points, areas, steps, num_rings, num_columns, num_starts, stride, grid, flat_mu, mu_grid, plain,
    weakened,
):  # fmt: skip
    """Add area * weights to `plain`, and to `weakened` (unless empty) times attenuation."""
    for chunk in numba.prange(NUM_CHUNKS):
        for task in range(chunk, num_starts * len(steps), NUM_CHUNKS):
            column, step = task // len(steps), steps[task % len(steps)]
            other = (column + step) % num_columns
            is_diametral = 2 * step == num_columns  # found from both of its ends
            for ring1 in range(num_rings):
                shift = R3[0] * ring1 + R3[1] * step + R3[2] * column
                start = int(stride * (shift - math.floor(shift)))
                i = ring1 * num_columns + column
                for ring2 in range(start, num_rings, stride):
                    j = ring2 * num_columns + other
                    walk = ray(points, i, j, grid)
                    if walk[1] < walk[0]:
                        continue
                    area = areas[step, abs(ring1 - ring2)]
                    if is_diametral:
                        area *= 0.5
                    scatter(plain[chunk], walk, area)
                    if len(weakened) > 0:
                        area *= math.exp(-gather(flat_mu, ray(points, i, j, mu_grid)))
                        scatter(weakened[chunk], walk, area)
