"""All compiled loops of the stage: walks along lines through padded images.

They are in one file because numba's cache looks at the file of a kernel only: a kernel elsewhere
would go on with old code after an edit here. What they compute is described in `lines`,
`sensitivity` and `scatter`, which are their only callers.

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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy.typing import NDArray

from tubepet.types import Grid

MAX_CHUNK_LINES = 1 << 15  # float32 sums of so many terms are good to 1e-5
MIN_CHUNK_LINES = 1 << 11
NUM_CHUNKS = 8  # at least, where that gives MIN_CHUNK_LINES
# Keeps interpolation indices inside the padding when rounding pushes a line over the image's rim.
RIM = 1e-9

# Lets the compiler add up a line in vectors; the order is fixed for a kind of CPU. Only for kernels
# that Python calls, with what they need inlined by numba: of code that is compiled by itself and
# into its callers too, a process that compiles runs another copy than one that finds the cache, and
# copies may add up in other orders. The body of a loop by `prange` is such code, hence threads of
# Python's (`in_threads`).
REORDER = {"reassoc", "contract", "nsz"}
part_of = numba.njit(cache=True, nogil=True, fastmath=REORDER)
F32, I32, INDEX = np.float32, np.int32, np.uint64  # unsigned: no test for negative indices

# first plane, last plane, 3 strides (along the walk and across it), u, du, v, dv (padded
# coordinates across the walk at plane 0 and their change per plane), middle (plane coordinate of
# the middle of the line), pace (planes per mm toward the second point)
Ray = tuple[int, int, int, int, int, float, float, float, float, float, float]
# Steps of Roberts' R3 sequence (powers of 1/1.2207..., the root of x^4 = x + 1): the subset's first
# ring runs through all residues evenly over rings, column steps and columns.
R3 = (0.8191725134, 0.6710436067, 0.5497004779)


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
def line(n, points, first, second, tof_mm, tof_table, grid, weights) -> Ray:  # type: ignore[no-untyped-def]
    """Prepare the walk along line n and fill in its weights."""
    tof = tof_mm[n] if len(tof_table) > 0 else 0.0
    return weigh(ray(points, first[n], second[n], grid), tof, tof_table, weights)


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


def num_chunks(num_lines: int) -> int:
    """Into how many parts lines are split, whatever the number of threads."""
    smallest = math.ceil(num_lines / MAX_CHUNK_LINES)
    return max(smallest, min(NUM_CHUNKS, math.ceil(num_lines / MIN_CHUNK_LINES)))


def in_threads(work: Callable[[int], None], num_parts: int) -> None:
    """Call ``work(0), work(1), ...`` on as many threads as numba may use."""
    num_threads = min(numba.get_num_threads(), num_parts)
    if num_threads > 1:
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(work, range(num_parts)))
    else:
        for part in range(num_parts):
            work(part)


@numba.njit(cache=True, parallel=True)
def add_up(private, num_used, total):  # type: ignore[no-untyped-def]
    """Add the first private images to the total in order, and empty them."""
    for voxel in numba.prange(len(total)):
        for part in range(num_used):
            total[voxel] += private[part, voxel]
            private[part, voxel] = 0.0


@part_of
def forward_part(  # type: ignore[no-untyped-def]
    flat, points, first, second, tof_mm, tof_table, grid, begin, end, sums
):
    """Fill in the line integrals of lines begin, ..., end - 1."""
    weights = empty_weights(grid)
    for n in range(begin, end):
        walk = line(n, points, first, second, tof_mm, tof_table, grid, weights)
        sums[n] = gather(flat, walk, weights)


def forward_sums(  # type: ignore[no-untyped-def]
    flat, points, first, second, tof_mm, tof_table, grid
):
    """Line integral of every line."""
    num, parts = len(first), num_chunks(len(first))
    sums = np.empty(num)

    def fill(part: int) -> None:
        begin, end = part * num // parts, (part + 1) * num // parts
        forward_part(flat, points, first, second, tof_mm, tof_table, grid, begin, end, sums)

    in_threads(fill, parts)
    return sums


@part_of
def back_part(  # type: ignore[no-untyped-def]
    values, points, first, second, tof_mm, tof_table, grid, begin, end, image
):
    """Add the values of lines begin, ..., end - 1 along them."""
    weights = empty_weights(grid)
    for n in range(begin, end):
        walk = line(n, points, first, second, tof_mm, tof_table, grid, weights)
        scatter(image, walk, weights, values[n])


def back_sums(  # type: ignore[no-untyped-def]
    values, points, first, second, tof_mm, tof_table, grid, private, total
):
    """Add the values along their lines."""
    lines = values, points, first, second, tof_mm, tof_table, grid

    def fill(begin: int, end: int, i_image: int) -> None:
        back_part(*lines, begin, end, private[i_image])

    by_chunks(fill, len(first), num_chunks(len(first)), private, total)


@part_of
def em_part(  # type: ignore[no-untyped-def]
    flat, points, first, second, additive, tof_mm, tof_table, grid, subset, num_subsets, expected,
    begin, end, image,
):  # fmt: skip
    """Project, divide, backproject events begin, ..., end - 1 of a subset."""
    weights = empty_weights(grid)
    for i in range(begin, end):
        n = subset + i * num_subsets
        walk = line(n, points, first, second, tof_mm, tof_table, grid, weights)
        value = gather(flat, walk, weights) + additive[n]
        expected[i] = value
        if value > 0.0:
            scatter(image, walk, weights, 1.0 / value)


def em_sums(  # type: ignore[no-untyped-def]
    flat, points, first, second, additive, tof_mm, tof_table, grid, subset, num_subsets, private,
    total,
):  # fmt: skip
    """Project, divide, backproject events subset, subset + num_subsets, ... in one pass.

    Returns what was divided by: the line integral and additive term of every one of these events.
    """
    lines = flat, points, first, second, additive, tof_mm, tof_table, grid, subset, num_subsets
    num = (len(first) - subset + num_subsets - 1) // num_subsets
    expected = np.empty(num)

    def fill(begin: int, end: int, i_image: int) -> None:
        em_part(*lines, expected, begin, end, private[i_image])

    by_chunks(fill, num, num_chunks(num), private, total)
    return expected


def by_chunks(fill, num, num_parts, private, *totals):  # type: ignore[no-untyped-def]
    """Fill private images by chunks of `num` items and add them to the totals in order.

    Parameters
    ----------
    fill : function
        Of the first item, the one after the last, and which private image of each total it fills.
    private : float32 array, shape (len(totals) * width, num_padded)
        Private images of the first total come first. As many chunks go on at once.
    totals : float64 arrays, shape (num_padded,)
    """
    width = len(private) // len(totals)
    for start in range(0, num_parts, width):
        used = min(width, num_parts - start)

        def fill_one(part: int, start: int = start) -> None:
            chunk = start + part
            fill(chunk * num // num_parts, (chunk + 1) * num // num_parts, part)

        in_threads(fill_one, used)
        for i, total in enumerate(totals):
            add_up(private[i * width : (i + 1) * width], used, total)


@part_of
def lor_part(  # type: ignore[no-untyped-def]
    points, areas, tasks, shares, num_rings, num_columns, is_mirrored, stride, grid, flat_mu,
    mu_grid, begin, end, plain, weakened,
):  # fmt: skip
    """Add the lines of tasks begin, ..., end - 1 to both images (each unless empty)."""
    weights, mu_weights = empty_weights(grid), empty_weights(mu_grid)
    no_tof = np.empty(0, F32)
    for task in range(begin, end):
        column, step = tasks[task, 0], tasks[task, 1]
        other = (column + step) % num_columns
        for ring1 in range(num_rings):
            shift = R3[0] * ring1 + R3[1] * step + R3[2] * column
            first = int(stride * (shift - math.floor(shift)))
            last = num_rings - ring1 if is_mirrored else num_rings
            i = ring1 * num_columns + column
            for ring2 in range(first, last, stride):
                j = ring2 * num_columns + other
                walk = ray(points, i, j, grid)
                if walk[1] < walk[0]:
                    continue
                walk = weigh(walk, 0.0, no_tof, weights)
                area = areas[step, abs(ring1 - ring2)] * shares[task]
                if is_mirrored and ring1 + ring2 == num_rings - 1:
                    area *= 0.5
                if len(plain) > 0:
                    scatter(plain, walk, weights, area)
                if len(weakened) > 0:
                    mu_walk = weigh(ray(points, i, j, mu_grid), 0.0, no_tof, mu_weights)
                    area *= math.exp(-gather(flat_mu, mu_walk, mu_weights))
                    scatter(weakened, walk, weights, area)


def lor_sums(  # type: ignore[no-untyped-def]
    points, areas, tasks, shares, num_rings, num_columns, is_mirrored, stride, grid, flat_mu,
    mu_grid, private, plain, weakened,
):  # fmt: skip
    """Add area * weights to `plain`, and times attenuation to `weakened` (each unless empty).

    A task is a column and a step to the other column; its share multiplies the areas. Mirrored: of
    two ring pairs that are each other's mirror image in z, only one is taken.
    """
    lines = points, areas, tasks, shares, num_rings, num_columns, is_mirrored, stride
    totals = [total for total in (plain, weakened) if len(total) > 0]
    width, nothing = len(private) // len(totals), np.empty(0, F32)

    def fill(begin: int, end: int, i_image: int) -> None:
        images = private[i_image::width]
        one = images[0] if len(plain) > 0 else nothing
        other = images[-1] if len(weakened) > 0 else nothing
        lor_part(*lines, grid, flat_mu, mu_grid, begin, end, one, other)

    per_chunk = max(1, stride * MAX_CHUNK_LINES // num_rings**2)
    num_parts = math.ceil(len(tasks) / per_chunk)
    by_chunks(fill, len(tasks), num_parts, private, *totals)


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


@numba.njit(cache=True, parallel=True)
def scatter_pairs(  # type: ignore[no-untyped-def]
    first, second, away, faces, emission, depth, chance, stretch, distance, travel
):
    """As `scatter_sums`, for a list of pairs of ends: sums of shape (3, pairs)."""
    num_points, last = faces.shape[0], len(chance) - 1
    sums = np.zeros((3, len(first)))
    for k in numba.prange(len(first)):
        a, b = first[k], second[k]
        for s in range(num_points):
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
            both = probability * faces[s, a] * faces[s, b]
            one = both * emission[s, a] * math.exp(-depth[s, a] - softer * depth[s, b])
            other = both * emission[s, b] * math.exp(-depth[s, b] - softer * depth[s, a])
            middle = (distance[s, a] - distance[s, b]) / 2
            near, far = middle - travel[s, a], middle + travel[s, b]
            sums[0, k] += one + other
            sums[1, k] += one * near + other * far
            sums[2, k] += one * near**2 + other * far**2
    return sums


@numba.njit(cache=True, parallel=True)
def cylinder_chords(  # type: ignore[no-untyped-def]
    points, sides, first, second, radius_mm, half_mm
):
    """Mean length of the lines between two faces inside a cylinder around the axis.

    Both ends take the four places of Gauss's rule of order 2 on their face: 16 lines.

    Parameters
    ----------
    points : float64 array, shape (n, 3)
    sides : float64 array, shape (n, 2, 3)
        Half the width and half the height of each face, as vectors.
    first, second : int array, shape (k,)
    radius_mm, half_mm : float
        Radius and half length.
    """
    chords, share = np.zeros(len(first)), 1 / math.sqrt(3)
    for k in numba.prange(len(first)):
        i, j = first[k], second[k]
        total = 0.0
        for corner in range(16):
            a = share if corner & 1 else -share
            b = share if corner & 2 else -share
            c = share if corner & 4 else -share
            d = share if corner & 8 else -share
            x = points[i, 0] + a * sides[i, 0, 0] + b * sides[i, 1, 0]
            y = points[i, 1] + a * sides[i, 0, 1] + b * sides[i, 1, 1]
            z = points[i, 2] + a * sides[i, 0, 2] + b * sides[i, 1, 2]
            u = points[j, 0] + c * sides[j, 0, 0] + d * sides[j, 1, 0] - x
            v = points[j, 1] + c * sides[j, 0, 1] + d * sides[j, 1, 1] - y
            w = points[j, 2] + c * sides[j, 0, 2] + d * sides[j, 1, 2] - z
            square, along = u * u + v * v, x * u + y * v
            root = along * along - square * (x * x + y * y - radius_mm * radius_mm)
            if root <= 0.0:
                continue
            enter, leave = (-along - math.sqrt(root)) / square, (-along + math.sqrt(root)) / square
            if w != 0.0:
                low, high = (-half_mm - z) / w, (half_mm - z) / w
                enter, leave = max(enter, min(low, high)), min(leave, max(low, high))
            elif abs(z) > half_mm:
                continue
            total += max(leave - enter, 0.0) * math.sqrt(square + w * w)
        chords[k] = total / 16
    return chords
