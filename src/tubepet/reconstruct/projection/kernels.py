"""Compiled walks along lines through padded images, and chords of cylinders.

They are in one file because numba's cache looks at the file of a kernel only: a kernel elsewhere
would keep old code after an edit here. The callers say what they compute: `lines`, `sensitivity`
and `normalisation`.

Walks follow Joseph's method (1982, doi:10.1109/TMI.1982.4307572). They are fast because

- images are float32 with axes (y, x, z): the lines of neighbouring events differ in z most, and
  the four voxels of a plane lie in two pairs. Coordinates are float32 from a line's first plane;
- zeros around the image (one voxel below, two above) replace bounds tests;
- places and shares of a walk are laid out first, several planes at once as vectors, and serve both
  the sum along the line and what is added along it;
- voxels are read and written in pairs, which every processor can;
- every thread adds to a private image.

Lines come in chunks whose size does not depend on the number of threads. The images of chunks are
added in order, in float64. So results do not depend on the number of threads, and sums of 10^7
events stay accurate.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tubepet.types import Grid

MAX_CHUNK_LINES = 1 << 15  # float32 sums of so many terms are good to 1e-5
MIN_CHUNK_LINES = 1 << 11
NUM_CHUNKS = 8  # at least, where that gives MIN_CHUNK_LINES
BLOCK = 2048  # voxels of an image that are added up while they are in the nearest cache
# Keeps interpolation indices inside the padding when rounding pushes a line over the image's rim.
RIM = 1e-9

# Lets the compiler add up a line in vectors; the order is fixed for a kind of CPU. It is only for
# kernels that Python calls, with what they need inlined by numba. Other code is compiled twice: by
# itself and into its callers. A process that compiles runs another copy than one that finds the
# cache, and copies may add up in different orders. The body of a loop by `prange` is such code,
# hence threads of Python (`in_threads`).
REORDER = {"reassoc", "contract", "nsz"}
part_of = numba.njit(cache=True, nogil=True, fastmath=REORDER)
# unsigned: no test for negative indices; int32 holds the 1024^3 voxels of the largest image
F32, I32, U32, INDEX = np.float32, np.int32, np.uint32, np.uint64
I64_CODE, PAIR_CODE, FOUR_CODE = ir.IntType(64), *(ir.VectorType(ir.FloatType(), n) for n in (2, 4))

# first plane, last plane, 3 strides (along the walk and across it), u, du, v, dv (padded
# coordinates across the walk at plane 0 and their change per plane), middle (plane coordinate of
# the middle of the line), pace (planes per mm toward the second point)
Ray = tuple[int, int, int, int, int, float, float, float, float, float, float]
# Steps of Roberts' R3 sequence (powers of 1/1.2207..., the root of x^4 = x + 1). They spread the
# first ring of a subset evenly over rings, column steps and columns.
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
def lay_out(walk, planes) -> None:  # type: ignore[no-untyped-def]
    """Fill in places and shares of a walk whose weights are there, and an empty plane behind."""
    first, last, stride0, stride1, stride2, u, du, v, dv, _, _ = walk
    weights, places, shares = planes
    u, v, du, dv = F32(u + du * first), F32(v + dv * first), F32(du), F32(dv)
    start, along, up, beside = I32((first + 1) * stride0), I32(stride0), I32(stride1), I32(stride2)
    num = I32(max(0, last - first + 1))
    for k in range(num):
        at_u, at_v = u + du * F32(I32(k)), v + dv * F32(I32(k))
        iu, iv = I32(at_u), I32(at_v)
        fu, fv = at_u - F32(iu), at_v - F32(iv)
        places[k] = U32(start + I32(k) * along + iu * up + iv * beside)
        far = fu * weights[k]
        near = weights[k] - far
        near_high, far_high = near * fv, far * fv
        shares[4 * k], shares[4 * k + 1] = near - near_high, near_high
        shares[4 * k + 2], shares[4 * k + 3] = far - far_high, far_high
    places[num] = 0
    shares[4 * num : 4 * num + 4] = F32(0.0)


@numba.njit(inline="always")
def prepare(walk, tof_mm, tof_table, planes) -> Ray:  # type: ignore[no-untyped-def]
    """Cut a walk to the reach of time of flight and fill in its planes."""
    walk = weigh(walk, tof_mm, tof_table, planes[0])
    lay_out(walk, planes)
    return walk


@numba.njit(inline="always")
def line(n, points, first, second, tof_mm, tof_table, grid, planes) -> Ray:  # type: ignore[no-untyped-def]
    """Prepare the walk along line n."""
    tof = tof_mm[n] if len(tof_table) > 0 else 0.0
    return prepare(ray(points, first[n], second[n], grid), tof, tof_table, planes)


def _data(context, builder, signature, args):  # type: ignore[no-untyped-def]
    """Return the pointers to the numbers of the first three arguments, which are arrays."""
    pairs = zip(signature.args[:3], args[:3], strict=True)
    return [cgutils.create_struct_proxy(kind)(context, builder, arg).data for kind, arg in pairs]


def _pointer(builder, data, index, code):  # type: ignore[no-untyped-def]
    return builder.bitcast(builder.gep(data, [index]), code.as_pointer())


def _four(builder, shares, plane):  # type: ignore[no-untyped-def]
    at = builder.shl(plane, I64_CODE(2))
    return builder.load(_pointer(builder, shares, at, FOUR_CODE), align=4)


def _pairs(builder, flat, places, plane, stride):  # type: ignore[no-untyped-def]
    """Return the pointers to the two pairs of neighbours of a plane."""
    at = builder.zext(builder.load(builder.gep(places, [plane])), I64_CODE)
    both = at, builder.add(at, stride)
    return [_pointer(builder, flat, index, PAIR_CODE) for index in both]


@intrinsic
def sum_pairs(_, flat, places, shares, num, stride):  # type: ignore[no-untyped-def]
    """Do what `gather` does where the voxels of a plane lie in two pairs, `stride` apart.

    Even and odd planes are added up by themselves, so that one sum need not wait for the other.
    """

    def code(context, builder, signature, args):  # type: ignore[no-untyped-def]
        flat, places, shares = _data(context, builder, signature, args)
        num, stride = args[3:]
        zero = FOUR_CODE([0.0] * 4)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(2)]
        num_steps = builder.lshr(builder.add(num, I64_CODE(1)), I64_CODE(1))
        with cgutils.for_range(builder, num_steps, intp=I64_CODE) as loop:
            for i, total in enumerate(sums):
                plane = builder.add(builder.shl(loop.index, I64_CODE(1)), I64_CODE(i))
                pairs = _pairs(builder, flat, places, plane, stride)
                near, far = (builder.load(pointer, align=4) for pointer in pairs)
                order = ir.VectorType(ir.IntType(32), 4)([0, 1, 2, 3])
                voxels = builder.shuffle_vector(near, far, order)
                part = builder.fmul(voxels, _four(builder, shares, plane), flags=["contract"])
                builder.store(builder.fadd(builder.load(total), part, flags=["contract"]), total)
        both = builder.fadd(*(builder.load(total) for total in sums))
        parts = [builder.extract_element(both, ir.IntType(32)(i)) for i in range(4)]
        return builder.fadd(builder.fadd(*parts[:2]), builder.fadd(*parts[2:]))

    return types.float32(flat, places, shares, types.int64, types.int64), code


@intrinsic
def add_pairs(_, flat, places, shares, num, stride, value):  # type: ignore[no-untyped-def]
    """Do what `scatter` does where the voxels of a plane lie in two pairs, `stride` apart."""

    def code(context, builder, signature, args):  # type: ignore[no-untyped-def]
        flat, places, shares = _data(context, builder, signature, args)
        num, stride, value = args[3:]
        values = FOUR_CODE(ir.Undefined)
        for i in range(4):
            values = builder.insert_element(values, value, ir.IntType(32)(i))
        with cgutils.for_range(builder, num, intp=I64_CODE) as loop:
            parts = builder.fmul(_four(builder, shares, loop.index), values)
            for i, pointer in enumerate(_pairs(builder, flat, places, loop.index, stride)):
                order = ir.VectorType(ir.IntType(32), 2)([2 * i, 2 * i + 1])
                part = builder.shuffle_vector(parts, parts, order)
                builder.store(builder.fadd(builder.load(pointer, align=4), part), pointer, align=4)
        return context.get_dummy_value()

    arrays = flat, places, shares
    return types.void(*arrays, types.int64, types.int64, types.float32), code


@numba.njit(inline="always")
def gather(flat, walk, planes):  # type: ignore[no-untyped-def]
    """Line integral of a flat padded image along a prepared walk."""
    _, places, shares = planes
    num, stride1, stride2 = max(0, walk[1] - walk[0] + 1), walk[3], walk[4]
    if stride2 == 1:
        return sum_pairs(flat, places, shares, num, stride1)
    total = F32(0.0)
    for k in range(num):
        at = INDEX(places[k])
        to = at + INDEX(stride1)
        total += shares[4 * k] * flat[at] + shares[4 * k + 1] * flat[at + INDEX(stride2)]
        total += shares[4 * k + 2] * flat[to] + shares[4 * k + 3] * flat[to + INDEX(stride2)]
    return total


@numba.njit(inline="always")
def scatter(flat, walk, planes, value) -> None:  # type: ignore[no-untyped-def]
    """Add `value` times the shares of a prepared walk: the adjoint of `gather`."""
    _, places, shares = planes
    num, stride1, stride2 = max(0, walk[1] - walk[0] + 1), walk[3], walk[4]
    if stride2 == 1:
        add_pairs(flat, places, shares, num, stride1, F32(value))
        return
    for k in range(num):
        at = INDEX(places[k])
        to = at + INDEX(stride1)
        flat[at] += F32(value) * shares[4 * k]
        flat[at + INDEX(stride2)] += F32(value) * shares[4 * k + 1]
        flat[to] += F32(value) * shares[4 * k + 2]
        flat[to + INDEX(stride2)] += F32(value) * shares[4 * k + 3]


@numba.njit(cache=True)
def empty_planes(grid):  # type: ignore[no-untyped-def]
    """Room for the planes of any walk: weights (mm), first voxels, shares of the four voxels."""
    num = int(max(grid[0], grid[1], grid[2])) + 1
    return np.empty(num, F32), np.empty(num, U32), np.empty(4 * num, F32)


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


@numba.njit(cache=True, nogil=True)
def add_part(private, num_used, total, begin, end):  # type: ignore[no-untyped-def]
    """Add voxels begin, ..., end - 1 of the first private images to the total, and empty them."""
    for first in range(begin, end, BLOCK):
        sums = total[first : min(first + BLOCK, end)]
        for part in range(num_used):
            image = private[part, first : first + len(sums)]
            for voxel in range(len(sums)):
                sums[voxel] += image[voxel]
                image[voxel] = 0.0


def add_up(private, num_used, total):  # type: ignore[no-untyped-def]
    """Add the first private images to the total in order, and empty them."""
    num, parts = len(total), numba.get_num_threads()

    def add(part: int) -> None:
        add_part(private, num_used, total, part * num // parts, (part + 1) * num // parts)

    in_threads(add, parts)


@part_of
def forward_part(  # type: ignore[no-untyped-def]
    flat, points, first, second, tof_mm, tof_table, grid, begin, end, sums
):
    """Fill in the line integrals of lines begin, ..., end - 1."""
    planes = empty_planes(grid)
    for n in range(begin, end):
        walk = line(n, points, first, second, tof_mm, tof_table, grid, planes)
        sums[n] = gather(flat, walk, planes)


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
    planes = empty_planes(grid)
    for n in range(begin, end):
        walk = line(n, points, first, second, tof_mm, tof_table, grid, planes)
        scatter(image, walk, planes, values[n])


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
    planes = empty_planes(grid)
    for i in range(begin, end):
        n = subset + i * num_subsets
        walk = line(n, points, first, second, tof_mm, tof_table, grid, planes)
        value = gather(flat, walk, planes) + additive[n]
        expected[i] = value
        if value > 0.0:
            scatter(image, walk, planes, 1.0 / value)


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
    """Add the lines of tasks begin, ..., end - 1 to both images; empty ones are left out."""
    planes, mu_planes = empty_planes(grid), empty_planes(mu_grid)
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
                area = areas[step, abs(ring1 - ring2)] * shares[task]
                if area == 0.0:
                    continue
                j = ring2 * num_columns + other
                walk = ray(points, i, j, grid)
                if walk[1] < walk[0]:
                    continue
                walk = prepare(walk, 0.0, no_tof, planes)
                if is_mirrored and ring1 + ring2 == num_rings - 1:
                    area *= 0.5
                if len(plain) > 0:
                    scatter(plain, walk, planes, area)
                if len(weakened) > 0:
                    mu_walk = prepare(ray(points, i, j, mu_grid), 0.0, no_tof, mu_planes)
                    area *= math.exp(-gather(flat_mu, mu_walk, mu_planes))
                    scatter(weakened, walk, planes, area)


def lor_sums(  # type: ignore[no-untyped-def]
    points, areas, tasks, shares, num_rings, num_columns, is_mirrored, stride, grid, flat_mu,
    mu_grid, private, plain, weakened,
):  # fmt: skip
    """Add area * weights to `plain`, and times attenuation to `weakened`; empty ones are left out.

    A task is a column and a step to the other column; its share multiplies the areas. If
    `is_mirrored`, only one of two ring pairs that mirror each other in z is taken.
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


@numba.njit(cache=True, nogil=True)
def chords_part(  # type: ignore[no-untyped-def]
    points, sides, first, second, radius_mm, half_mm, begin, end, chords
):
    """Fill in the chords of lines begin, ..., end - 1."""
    share = 1 / math.sqrt(3)
    for k in range(begin, end):
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
    chords = np.zeros(len(first))
    num, parts = len(first), num_chunks(len(first))

    def fill(part: int) -> None:
        begin, end = part * num // parts, (part + 1) * num // parts
        chords_part(points, sides, first, second, radius_mm, half_mm, begin, end, chords)

    in_threads(fill, parts)
    return chords
