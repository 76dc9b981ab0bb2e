"""All compiled loops of the stage: walks along lines through padded images.

They are in one file because numba's cache looks at the file of a kernel only: a kernel elsewhere
would go on with old code after an edit here. What they compute is described in `projector`,
`sensitivity` and `algorithms`, which are their only callers.

What makes them fast, by Joseph's method (1982, doi:10.1109/TMI.1982.4307572):

- images are float32 with axes (y, x, z): the lines of neighbouring events differ in z most, and
  the four voxels of a plane lie in two pairs. Coordinates are float32 from a line's first plane;
- zeros around the image (one voxel below, two above) instead of bounds tests;
- the gather is written so that the compiler makes vectors of planes;
- every thread adds to a private image. Lines come in chunks whose size does not depend on the
  number of threads, and the chunks' images are added in order, in float64: results do not depend on
  the number of threads, and sums of 10^7 events stay accurate.
"""

import math

import numba
import numpy as np

MAX_CHUNK_LINES = 1 << 15  # float32 sums of so many terms are good to 1e-5
MIN_CHUNK_LINES = 1 << 11
NUM_CHUNKS = 8  # of a loop without images, and at least, where that gives MIN_CHUNK_LINES
# Keeps interpolation indices inside the padding when rounding pushes a line over the image's rim.
RIM = 1e-9

# Lets the compiler add up a line in vectors; the order is fixed for a kind of CPU. Only for kernels
# that are called from Python, with what they need inlined by numba: of a function that is compiled
# by itself and into its callers too, a process that compiles runs another copy than one that finds
# the cache, and copies may add up in other orders.
REORDER = {"reassoc", "contract", "nsz"}
F32, I32, INDEX = np.float32, np.int32, np.uint64  # unsigned: no test for negative indices

# first plane, last plane, 3 strides (along the walk and across it), u, du, v, dv (padded
# coordinates across the walk at plane 0 and their change per plane), middle (plane coordinate of
# the middle of the line), pace (planes per mm toward the second point)
Ray = tuple[int, int, int, int, int, float, float, float, float, float, float]
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
    """Prepare the walk from point i to point j; the line misses the image if last < first.

    The walk follows the axis along which the line is longest in mm.
    """
    num0, num1, num2 = grid[0], grid[1], grid[2]
    z = (points[i, 2] - grid[6]) / grid[3]
    y = (points[i, 1] - grid[7]) / grid[4]
    x = (points[i, 0] - grid[8]) / grid[5]
    z_mm, y_mm = points[j, 2] - points[i, 2], points[j, 1] - points[i, 1]
    x_mm = points[j, 0] - points[i, 0]
    dz, dy, dx = z_mm / grid[3], y_mm / grid[4], x_mm / grid[5]
    stride_x = int(num0) + 3
    stride_y = (int(num2) + 3) * stride_x
    if abs(x_mm) >= abs(y_mm) and abs(x_mm) >= abs(z_mm):
        start, change, num, stride0 = x, dx, num2, stride_x
        u, du, num_u, stride1 = y, dy, num1, stride_y
        v, dv, num_v, stride2 = z, dz, num0, 1
    elif abs(y_mm) >= abs(z_mm):
        start, change, num, stride0 = y, dy, num1, stride_y
        u, du, num_u, stride1 = x, dx, num2, stride_x
        v, dv, num_v, stride2 = z, dz, num0, 1
    else:
        start, change, num, stride0 = z, dz, num0, 1
        u, du, num_u, stride1 = y, dy, num1, stride_y
        v, dv, num_v, stride2 = x, dx, num2, stride_x
    if change == 0.0:  # both ends in one point
        return 0, -1, stride0, stride1, stride2, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0
    low, high = min(start, start + change), max(start, start + change)
    first = math.ceil(max(low, 0.0))
    last = math.floor(min(high, num - 1.0))
    du, dv = du / change, dv / change
    u, v = u - start * du, v - start * dv
    first, last = clip_range(first, last, u, du, int(num_u))
    first, last = clip_range(first, last, v, dv, int(num_v))
    pace = change / math.sqrt(z_mm**2 + y_mm**2 + x_mm**2)
    middle = start + change / 2
    return first, last, stride0, stride1, stride2, u + 1.0, du, v + 1.0, dv, middle, pace


@numba.njit(inline="always")
def weigh(walk, tof_mm, tof_table, weights) -> Ray:  # type: ignore[no-untyped-def]
    """Fill in the length per plane, mm, times the time-of-flight kernel if there is a table.

    The table is the kernel (1/mm) at equidistant points from -reach to +reach; its last two entries
    are reach (mm) and points per mm. Returns the walk, cut to the reach of the kernel.
    """
    first, last, stride0, stride1, stride2, u, du, v, dv, middle, pace = walk
    step_mm = 1.0 / abs(pace)
    if len(tof_table) == 0:
        for k in range(last - first + 1):
            weights[k] = step_mm
        return walk
    reach_mm, per_mm = tof_table[-2], tof_table[-1]
    centre, reach = middle + tof_mm * pace, (reach_mm - 1e-3) * abs(pace)
    first = math.ceil(max(float(first), min(centre - reach, last + 1.0)))
    last = math.floor(min(float(last), max(centre + reach, first - 1.0)))
    start = F32(((first - centre) * step_mm + reach_mm) * per_mm)
    change = F32(step_mm * per_mm)
    for k in range(last - first + 1):
        at = start + change * F32(I32(k))
        low = I32(at)
        value = tof_table[INDEX(low)]
        value += (at - F32(low)) * (tof_table[INDEX(low) + INDEX(1)] - value)
        weights[k] = value * F32(step_mm)
    return first, last, stride0, stride1, stride2, u, du, v, dv, middle, pace


@numba.njit(inline="always")
def gather_strided(flat, walk, stride2, weights):  # type: ignore[no-untyped-def]
    """Do what `gather` does; `stride2` may be a literal."""
    first, last, stride0, stride1, _, u, du, v, dv, _, _ = walk
    u, v, du, dv = F32(u + du * first), F32(v + dv * first), F32(du), F32(dv)
    start = (first + 1) * stride0
    total = F32(0.0)
    for k in range(I32(last - first + 1)):
        iu, iv = I32(u + du * F32(I32(k))), I32(v + dv * F32(I32(k)))
        fu, fv = u + du * F32(I32(k)) - F32(iu), v + dv * F32(I32(k)) - F32(iv)
        at = INDEX(start + k * stride0 + np.int64(iu) * stride1 + np.int64(iv) * stride2)
        low, high = flat[at], flat[at + INDEX(stride2)]
        near = low + fv * (high - low)
        at += INDEX(stride1)
        low, high = flat[at], flat[at + INDEX(stride2)]
        far = low + fv * (high - low)
        total += weights[k] * (near + fu * (far - near))
    return total


@numba.njit(inline="always")
def gather(flat, walk, weights) -> float:  # type: ignore[no-untyped-def]
    """Line integral of a flat padded image along a prepared walk."""
    if walk[4] == 1:  # known to the compiler: pairs of neighbours
        return gather_strided(flat, walk, 1, weights)
    return gather_strided(flat, walk, walk[4], weights)


@numba.njit(inline="always")
def scatter_strided(flat, walk, stride2, weights, value):  # type: ignore[no-untyped-def]
    """Do what `scatter` does; `stride2` may be a literal."""
    first, last, stride0, stride1, _, u, du, v, dv, _, _ = walk
    u, v, du, dv = F32(u + du * first), F32(v + dv * first), F32(du), F32(dv)
    start = (first + 1) * stride0
    value = F32(value)
    for k in range(last - first + 1):
        iu, iv = I32(u + du * F32(I32(k))), I32(v + dv * F32(I32(k)))
        fu, fv = u + du * F32(I32(k)) - F32(iu), v + dv * F32(I32(k)) - F32(iv)
        all_four = value * weights[k]
        far = fu * all_four
        near = all_four - far
        near_high, far_high = near * fv, far * fv
        at = INDEX(start + k * stride0 + np.int64(iu) * stride1 + np.int64(iv) * stride2)
        to = at + INDEX(stride1)
        flat[at] += near - near_high
        flat[at + INDEX(stride2)] += near_high
        flat[to] += far - far_high
        flat[to + INDEX(stride2)] += far_high


@numba.njit(inline="always")
def scatter(flat, walk, weights, value) -> None:  # type: ignore[no-untyped-def]
    """Add `value` times the weights of a prepared walk: the adjoint of `gather`."""
    if walk[4] == 1:
        scatter_strided(flat, walk, 1, weights, value)
    else:
        scatter_strided(flat, walk, walk[4], weights, value)


@numba.njit(cache=True)
def empty_weights(grid):  # type: ignore[no-untyped-def]
    """Room for the weights of any walk."""
    return np.empty(int(max(grid[0], grid[1], grid[2])), F32)


@numba.njit(cache=True)
def num_chunks(num_lines):  # type: ignore[no-untyped-def]
    """Into how many parts lines are split, whatever the number of threads."""
    smallest = math.ceil(num_lines / MAX_CHUNK_LINES)
    return max(smallest, min(NUM_CHUNKS, math.ceil(num_lines / MIN_CHUNK_LINES)))


@numba.njit(cache=True, parallel=True)
def add_up(private, num_used, total):  # type: ignore[no-untyped-def]
    """Add the first private images to the total in order, and empty them."""
    for voxel in numba.prange(len(total)):
        for part in range(num_used):
            total[voxel] += private[part, voxel]
            private[part, voxel] = 0.0


@numba.njit(cache=True, parallel=True, fastmath=REORDER)
def forward_sums(  # type: ignore[no-untyped-def]
    flat, points, first, second, tof_mm, tof_table, grid
):
    """Line integral of every line."""
    num = len(first)
    sums = np.empty(num)
    for chunk in numba.prange(NUM_CHUNKS):
        weights = empty_weights(grid)
        for n in range(chunk * num // NUM_CHUNKS, (chunk + 1) * num // NUM_CHUNKS):
            tof = tof_mm[n] if len(tof_table) > 0 else 0.0
            walk = weigh(ray(points, first[n], second[n], grid), tof, tof_table, weights)
            sums[n] = gather(flat, walk, weights)
    return sums


@numba.njit(cache=True, parallel=True, fastmath=REORDER)
def back_sums(  # type: ignore[no-untyped-def]
    values, points, first, second, tof_mm, tof_table, grid, private, total
):
    """Add the values along their lines."""
    num, parts, width = len(first), num_chunks(len(first)), len(private)
    for start in range(0, parts, width):
        used = min(width, parts - start)
        for part in numba.prange(used):
            chunk, weights = start + part, empty_weights(grid)
            for n in range(chunk * num // parts, (chunk + 1) * num // parts):
                tof = tof_mm[n] if len(tof_table) > 0 else 0.0
                walk = weigh(ray(points, first[n], second[n], grid), tof, tof_table, weights)
                scatter(private[part], walk, weights, values[n])
        add_up(private, used, total)


@numba.njit(cache=True, parallel=True, fastmath=REORDER)
def em_sums(  # type: ignore[no-untyped-def]
    flat, points, first, second, additive, tof_mm, tof_table, grid, subset, num_subsets, private,
    total,
):  # fmt: skip
    """Project, divide, backproject events subset, subset + num_subsets, ... in one pass."""
    num = (len(first) - subset + num_subsets - 1) // num_subsets
    parts, width = num_chunks(num), len(private)
    for start in range(0, parts, width):
        used = min(width, parts - start)
        for part in numba.prange(used):
            chunk, weights = start + part, empty_weights(grid)
            for i in range(chunk * num // parts, (chunk + 1) * num // parts):
                n = subset + i * num_subsets
                tof = tof_mm[n] if len(tof_table) > 0 else 0.0
                walk = weigh(ray(points, first[n], second[n], grid), tof, tof_table, weights)
                expected = gather(flat, walk, weights) + additive[n]
                if expected > 0.0:
                    scatter(private[part], walk, weights, 1.0 / expected)
        add_up(private, used, total)


@numba.njit(cache=True, parallel=True, fastmath=REORDER)
def lor_sums(  # type: ignore[no-untyped-def]
    points, areas, tasks, shares, num_rings, num_columns, is_mirrored, stride, grid, flat_mu,
    mu_grid, private, plain, weakened,
):  # fmt: skip
    """Add area * weights to `plain`, and times attenuation to `weakened` (each unless empty).

    A task is a column and a step to the other column; its share multiplies the areas. Mirrored: of
    two ring pairs that are each other's mirror image in z, only one is taken.
    """
    has_plain, has_weakened = len(plain) > 0, len(weakened) > 0
    width = len(private) // (int(has_plain) + int(has_weakened))
    below = width if has_plain else 0  # private images of `plain` come first
    no_tof = np.empty(0, F32)
    per_chunk = max(1, stride * MAX_CHUNK_LINES // num_rings**2)
    parts = (len(tasks) + per_chunk - 1) // per_chunk
    for start in range(0, parts, width):
        used = min(width, parts - start)
        for part in numba.prange(used):
            weights, mu_weights = empty_weights(grid), empty_weights(mu_grid)
            chunk = start + part
            for task in range(chunk * per_chunk, min((chunk + 1) * per_chunk, len(tasks))):
                column, step = tasks[task, 0], tasks[task, 1]
                other = (column + step) % num_columns
                for ring1 in range(num_rings):
                    shift = R3[0] * ring1 + R3[1] * step + R3[2] * column
                    begin = int(stride * (shift - math.floor(shift)))
                    end = num_rings - ring1 if is_mirrored else num_rings
                    i = ring1 * num_columns + column
                    for ring2 in range(begin, end, stride):
                        j = ring2 * num_columns + other
                        walk = ray(points, i, j, grid)
                        if walk[1] < walk[0]:
                            continue
                        walk = weigh(walk, 0.0, no_tof, weights)
                        area = areas[step, abs(ring1 - ring2)] * shares[task]
                        if is_mirrored and ring1 + ring2 == num_rings - 1:
                            area *= 0.5
                        if has_plain:
                            scatter(private[part], walk, weights, area)
                        if has_weakened:
                            mu_walk = weigh(ray(points, i, j, mu_grid), 0.0, no_tof, mu_weights)
                            area *= math.exp(-gather(flat_mu, mu_walk, mu_weights))
                            scatter(private[below + part], walk, weights, area)
        if has_plain:
            add_up(private[:width], used, plain)
        if has_weakened:
            add_up(private[below:], used, weakened)


@numba.njit(cache=True, fastmath=REORDER)
def matrix_rows(  # type: ignore[no-untyped-def]
    points, first, second, tof_mm, tof_table, grid, starts, voxels, values
):
    """Fill a CSR matrix of all weights (padded voxels); only count them if `values` is empty."""
    weights = empty_weights(grid)
    for n in range(len(first)):
        tof = tof_mm[n] if len(tof_table) > 0 else 0.0
        walk = weigh(ray(points, first[n], second[n], grid), tof, tof_table, weights)
        start, stop, stride0, stride1, stride2, u0, du, v0, dv, _, _ = walk
        at = starts[n]
        starts[n + 1] = at + 4 * max(stop - start + 1, 0)
        if len(values) == 0:
            continue
        for k in range(stop - start + 1):
            u, v = u0 + du * (start + k), v0 + dv * (start + k)
            iu, iv = int(u), int(v)
            fu, fv = u - iu, v - iv
            corner = (start + k + 1) * stride0 + iu * stride1 + iv * stride2
            voxels[at], values[at] = corner, weights[k] * (1 - fu) * (1 - fv)
            voxels[at + 1], values[at + 1] = corner + stride2, weights[k] * (1 - fu) * fv
            voxels[at + 2], values[at + 2] = corner + stride1, weights[k] * fu * (1 - fv)
            voxels[at + 3], values[at + 3] = corner + stride1 + stride2, weights[k] * fu * fv
            at += 4


@numba.njit(cache=True, parallel=True)
def scatter_sums(  # type: ignore[no-untyped-def]
    away, faces, emission, depth, chance, stretch, distance, travel
):
    """Sum both terms of the formula in `scatter` over scatter points, for all pairs of ends.

    Arrays are by point and end; `faces` is the efficiency times the solid angle per mm2 of face,
    `distance` that of the end and `travel` that of the emission on the way to it, mm. The sums come
    thrice: plain, times the position by time of flight, and times its square.
    """
    num_points, num = faces.shape
    sums, last = np.zeros((3, num, num)), len(chance) - 1
    for a in numba.prange(num):
        for s in range(num_points):
            for b in range(num):
                cosine = 0.0
                for axis in range(3):
                    cosine -= away[s, a, axis] * away[s, b, axis]
                place = min(max((cosine + 1) / 2 * last, 0.0), last - 1e-9)
                low = int(place)
                part = place - low
                probability = chance[low] + part * (chance[low + 1] - chance[low])
                if probability == 0.0:
                    continue
                softer = stretch[low] + part * (stretch[low + 1] - stretch[low])
                one = emission[s, a] * math.exp(-depth[s, a] - softer * depth[s, b])
                other = emission[s, b] * math.exp(-depth[s, b] - softer * depth[s, a])
                both = probability * faces[s, a] * faces[s, b]
                one, other = both * one, both * other
                middle = (distance[s, a] - distance[s, b]) / 2
                near, far = middle - travel[s, a], middle + travel[s, b]
                sums[0, a, b] += one + other
                sums[1, a, b] += one * near + other * far
                sums[2, a, b] += one * near**2 + other * far**2
    return sums
