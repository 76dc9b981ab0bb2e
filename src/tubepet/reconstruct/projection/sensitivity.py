"""Sensitivity image: expected counts per Bq/mm3 and second of every voxel, over all allowed pairs.

s_v = sum over LORs of area(LOR) * attenuation(LOR) * weight(LOR, v), with the area of
`geometry.lor_areas_mm2` and the weights of `lines`. No list of LORs is made.

The exact sum without attenuation serves all parts. For one part it is multiplied by the ratio of
the sums with and without attenuation over the same subset of LORs. This is a control variate: the
sampling pattern of the subset divides out. With `stride` 1 the sum is exact.
"""

import math
from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tubepet import rng
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct.problem import Efficiency, Instrument
from tubepet.reconstruct.projection import kernels, line_blur
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import checks, geometry
from tubepet.reconstruct.scanner.crystals import Crystals, numbered_pairs, pair_areas_mm2
from tubepet.types import Grid, Scanner, Volume

MAX_PAIRS = 200_000_000  # of 20,000 crystals; some minutes
PAIRS_PER_CHUNK = 1 << 18  # 20 MB of weights and indices at a time

# Sums of a subset are smoothed before their ratio is taken: attenuation factors vary slowly, the
# subset's sampling noise does not.
RATIO_SIGMA_VOXELS = 0.5
SHARE_SIGMA_VOXELS = 1.0  # the same, for the shares of classes of slopes


def _steps_through(grid: Grid, scanner: Scanner) -> NDArray[np.int64]:
    """Return allowed column steps whose lines can touch the image."""
    _, y_mm, x_mm = (
        np.abs(axis).max() + size for axis, size in zip(grid.axes_mm(), grid.voxel_mm, strict=True)
    )
    is_near = geometry.axis_distances_mm(scanner) <= math.hypot(x_mm, y_mm)
    return np.flatnonzero(geometry.is_allowed_step(scanner) & is_near)


def geometric_sensitivity(
    scanner: Scanner, grid: Grid, efficiency: Efficiency
) -> NDArray[np.float64]:
    """Exact sum over all allowed pairs, without attenuation.

    If quarter turns and mirrors map scanner and grid onto themselves, one sixteenth of the pairs is
    summed, turned and mirrored.

    Parameters
    ----------
    efficiency : float64 array, shape (num_columns // 2 + 1, num_rings), or Crystals
        Pair efficiency by column step and ring difference, or calibrated crystals. Of these a
        random part is summed if there are more than `MAX_PAIRS` pairs.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Counts per second per Bq/mm3 in the voxel (mm3).

    Raises
    ------
    InputError
        If the image is larger than memory.
    """
    checks.check_memory(grid)
    if isinstance(efficiency, Crystals):
        return of_pairs(efficiency, grid, None, MAX_PAIRS, 0)
    image = _whole(scanner, grid, efficiency)
    pairs = geometry.num_column_pairs(scanner) * geometry.is_allowed_step(scanner)
    log.info(
        "%.4g crystal pairs in, %d voxels out; mean probability to count a decay %.4f",
        pairs.sum() * scanner.num_rings**2,
        image.size,
        image.mean() / grid.voxel_volume_mm3,
    )
    return image


def attenuated_sensitivity(instrument: Instrument, mu: Volume, stride: int) -> NDArray[np.float64]:
    """Sensitivity with an attenuating object.

    Parameters
    ----------
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    stride : int
        Every `stride`-th LOR of a ring is summed, or as many random pairs of other scanners.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Counts per second per Bq/mm3 in the voxel (mm3).

    Raises
    ------
    InputError
        If the subset leaves out voxels.
    """
    geometric, grid, known = instrument.geometric.array, instrument.grid, instrument.efficiency
    if isinstance(known, Crystals):
        num_pairs = _num_some(known, stride)
        sums = tuple(of_pairs(known, grid, one, num_pairs, 0) for one in (None, mu))
    else:
        sums = _sums(instrument.scanner, grid, known, mu, stride, has_plain=stride > 1)
    if stride == 1:
        return sums[1]
    plain, weakened = (gaussian_filter(s, RATIO_SIGMA_VOXELS, mode="reflect") for s in sums)
    if np.any((plain <= 0) & (geometric > 0)):
        raise InputError(
            f"reconstruct.sensitivity_stride: got {stride}, which leaves voxels without any line, "
            "expected a smaller number"
        )
    ratio = np.divide(weakened, plain, out=np.zeros(grid.shape), where=plain > 0)
    return geometric.astype(np.float64) * ratio


def by_slope(
    instrument: Instrument, efficiency: Efficiency, grid: Grid, edges: NDArray[np.float64],
    stretch: float, stride: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Divide the sensitivity without attenuation among classes of lines by their slope.

    Parameters
    ----------
    efficiency : float64 array, shape (num_columns // 2 + 1, num_rings), or Crystals
        That of the instrument, or another one of a ring.
    grid : Grid
        The grid of the image, or more around it.
    edges : float64 array, shape (classes - 1,)
        Slopes between classes (`geometry.slopes_of`).
    stretch : float
        Distance of lines of a ring from the axis over the one that their ends give
        (`resolution.fit_by_slope`).
    stride : int
        One in `stride` pairs is summed for the shares, unless the scanner is a ring.

    Returns
    -------
    float64 array, shape (classes, nz, ny, nx)
        Counts per second per Bq/mm3 in the voxel (mm3).
    """
    scanner = instrument.scanner
    if isinstance(efficiency, Crystals):
        sums = np.stack([
            _of_class(efficiency, grid, None, k, edges, stride) for k in range(len(edges) + 1)
        ])  # fmt: skip
        sums = gaussian_filter(sums, SHARE_SIGMA_VOXELS, axes=(1, 2, 3), mode="reflect")
        total = sums.sum(axis=0)
        even = np.full(sums.shape, 1 / len(sums))  # where nothing is seen
        return np.divide(sums, total, out=even, where=total > 0) * _beyond(instrument, grid)
    # to narrow the voxels across the axis is the same as to stretch the lines
    (z, y, x), (dz, dy, dx) = grid.origin_mm, grid.voxel_mm
    narrow = Grid(grid.shape, (dz, dy / stretch, dx / stretch), (z, y / stretch, x / stretch))
    kind = np.digitize(geometry.lor_slopes(scanner), edges)
    sums = np.stack([
        _whole(scanner, narrow, np.where(kind == k, efficiency, 0.0)) for k in range(len(edges) + 1)
    ])  # fmt: skip
    return sums * stretch**2  # narrow voxels hold less


def _beyond(instrument: Instrument, grid: Grid) -> NDArray[np.float64]:
    """Continue the sensitivity beyond its image; gradients continue."""
    own = instrument.geometric.array.astype(np.float64)
    more = line_blur.margins(own.shape, grid)
    return np.maximum(np.pad(own, more, mode="reflect", reflect_type="odd"), 0.0)


def left_by_slope(
    instrument: Instrument, grid: Grid, mu: Volume | None, more: Sequence[Volume],
    edges: NDArray[np.float64], stride: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Return the share of photon pairs that more attenuation lets through, by slopes of lines.

    Parameters
    ----------
    grid : Grid
        As of `by_slope`.
    mu : Volume or None
        Attenuation at 511 keV on its own grid, 1/mm; None: air.
    more : sequence of Volume
        What is added for each class, on the same grid.
    edges, stride
        As of `by_slope`; a ring's pairs are left out, too.

    Returns
    -------
    float64 array, shape (classes, nz, ny, nx)
        1 where no line of the class passes.
    """
    known, scanner = instrument.efficiency, instrument.scanner
    kind, shares = np.digitize(geometry.lor_slopes(scanner), edges), []
    for k, added in enumerate(more):
        both = added if mu is None else Volume(mu.array + added.array, mu.grid)
        if isinstance(known, Crystals):
            before, after = (_of_class(known, grid, one, k, edges, stride) for one in (mu, both))
        else:
            own = np.where(kind == k, known, 0.0)
            before, after = _sums(scanner, grid, own, both, stride, has_plain=mu is None)
            if mu is not None:
                before = _sums(scanner, grid, own, mu, stride, has_plain=False)[1]
        before, after = (
            gaussian_filter(one, RATIO_SIGMA_VOXELS, mode="reflect") for one in (before, after)
        )
        shares.append(np.divide(after, before, out=np.ones(after.shape), where=before > 0))
    return np.stack(shares)


def _of_class(
    crystals: Crystals, grid: Grid, mu: Volume | None, k: int, edges: NDArray[np.float64],
    stride: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Sum some pairs of crystals in any arrangement, of one class of slopes."""
    ends = (0.0, *edges, math.inf)
    return of_pairs(crystals, grid, mu, _num_some(crystals, stride), 0, (ends[k], ends[k + 1]))


def _num_some(crystals: Crystals, stride: int) -> int:
    """Return the number of pairs that are summed in place of all."""
    return max(1, len(crystals) * (len(crystals) - 1) // 2 // stride)


def _whole(scanner: Scanner, grid: Grid, efficiency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over all LORs of a ring."""
    is_symmetric = _is_symmetric(scanner, grid)
    image, _ = _sums(scanner, grid, efficiency, None, 1, has_plain=True, is_symmetric=is_symmetric)
    if is_symmetric:
        for flip in (lambda i: i[::-1], lambda i: i[:, ::-1], lambda i: np.rot90(i, 2, (1, 2))):
            image = image + flip(image)
        image = image + np.rot90(image, 1, (1, 2))
    return image


def _is_symmetric(scanner: Scanner, grid: Grid) -> bool:
    """Whether quarter turns about z and mirrors in x, y and z change nothing."""
    z, y, x = grid.axes_mm()
    is_square = len(y) == len(x) and np.allclose(y, x)
    is_centred = np.allclose(x, -x[::-1]) and np.allclose(z, -z[::-1])
    return bool(scanner.num_columns % 4 == 0 and is_square and is_centred)


def _tasks(
    scanner: Scanner, steps: NDArray[np.int64], is_symmetric: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """List column pairs (first column, step), and what each counts for.

    A diametral pair is found from both of its ends and counts a half. With symmetry, the eight
    turns and mirrors take the pair (c, c + k) to (c + n / 4, ...) and (-c - k, -c). The one with
    the smallest first column stands for all, and counts their number over eight.
    """
    columns = np.arange(scanner.num_columns)
    tasks, shares = [], []
    for step in steps:
        half = 0.5 if 2 * step == scanner.num_columns else 1.0
        first = columns
        number = np.full(len(columns), half)
        if is_symmetric:
            quarter = scanner.num_columns // 4
            turned, mirrored = columns % quarter, (-columns - step) % quarter
            smallest = np.minimum(turned, mirrored)
            first, places = np.unique(smallest, return_counts=True)
            number = half * places / 8
        tasks.append(np.stack([first, np.full(len(first), step)], axis=1))
        shares.append(number)
    return np.concatenate(tasks), np.concatenate(shares)


def _sums(
    scanner: Scanner,
    grid: Grid,
    efficiency: NDArray[np.float64],
    mu: Volume | None,
    stride: int,
    has_plain: bool,
    is_symmetric: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum without attenuation if it is wanted, and with it if `mu` is given; else zeros."""
    tasks, shares = _tasks(scanner, _steps_through(grid, scanner), is_symmetric)
    is_wanted, num = (has_plain, mu is not None), kernels.num_padded(grid)
    plain, weakened = (np.zeros(num if wanted else 0) for wanted in is_wanted)
    through = Volume(np.zeros(grid.shape), grid) if mu is None else mu
    kernels.lor_sums(
        geometry.crystal_points_mm(scanner), geometry.lor_areas_mm2(scanner, efficiency),
        tasks, shares, scanner.num_rings, scanner.num_columns, is_symmetric, stride,
        kernels.grid_numbers(grid), kernels.padded(through.array),
        kernels.grid_numbers(through.grid),
        kernels.private_images(grid, numba.get_num_threads() * sum(is_wanted)), plain, weakened,
    )  # fmt: skip
    plain, weakened = (
        kernels.unpadded(s, grid) if len(s) > 0 else np.zeros(grid.shape) for s in (plain, weakened)
    )
    return plain, weakened


def of_pairs(
    crystals: Crystals, grid: Grid, mu: Volume | None, num_pairs: int, seed: int,
    slopes: tuple[float, float] = (0.0, math.inf),
) -> NDArray[np.float64]:  # fmt: skip
    """Sum the sensitivity over all pairs, or over a random subset of them.

    Parameters
    ----------
    mu : Volume or None
        Attenuation at 511 keV on its own grid, 1/mm.
    num_pairs : int
        Largest number of pairs that are summed. If the scanner has more, so many are drawn
        uniformly with replacement and the sum is scaled up.
    seed : int
        Of the draw.
    slopes : tuple of float
        Only lines of these slopes (`geometry.slopes_of`), the second excluded.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Counts per second per Bq/mm3 in the voxel, mm3.

    Raises
    ------
    InputError
        If there are fewer than two crystals.
    """
    if len(crystals) < 2:
        raise InputError(f"scanner: got {len(crystals)} crystals, expected at least 2")
    total = len(crystals) * (len(crystals) - 1) // 2
    is_all = total <= num_pairs
    generator = rng.stream(seed, "sensitivity", "pairs")
    image: NDArray[np.float64] = np.zeros(grid.shape)
    number = min(total, num_pairs)
    for start in range(0, number, PAIRS_PER_CHUNK):
        size = min(PAIRS_PER_CHUNK, number - start)
        numbers = np.arange(start, start + size) if is_all else generator.integers(total, size=size)
        first, second = numbered_pairs(numbers)
        weights = pair_areas_mm2(crystals, first, second)
        slope = geometry.slopes_of(crystals.points_mm, first, second)
        is_seen = (weights > 0) & (slope >= slopes[0]) & (slope < slopes[1])
        weights, ends = weights[is_seen], (crystals.points_mm, first[is_seen], second[is_seen])
        if mu is not None:
            weights *= np.exp(-Lines(mu.grid, *ends).forward(mu.array))
        image += Lines(grid, *ends).back(weights)
    return image * (total / number)
