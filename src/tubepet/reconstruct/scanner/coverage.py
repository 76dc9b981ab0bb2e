"""Find where events come from, before there is an image, by lines nearly perpendicular to an axis.

Such a line stays near one place along the axis while it crosses the object. So the places of these
lines along z are a profile of the activity along z; likewise for x and y. The object is taken to be
where the profile exceeds its floor of scatter and randoms by a tenth of the height (up to a half
where the floor is high).
"""

import numpy as np
from numpy.typing import NDArray

from tubepet.logs import log
from tubepet.types import Grid

Array = NDArray[np.float64]
Extent = tuple[float, float] | None

MAX_SLOPE = 0.15  # across an object of 40 mm a line moves by 3 mm to each side
MOST_LINES = 500_000
BIN_MM, WIDEST_BIN_MM = 2.0, 16.0
MIN_TOP_COUNTS = 40  # of a profile: 4 counts at a tenth
MIN_SIGMAS = 5.0  # over the floor's noise
LEVEL, FLOOR = 0.1, 10.0  # share of the top, per cent of the bins
SLACK_MM = 5.0  # a sharp edge looks this wide: crystals, and the slope of lines
MOST_VOXELS = 1 << 24  # of an enlarged image


def extents_mm(starts_mm: Array, ends_mm: Array) -> tuple[Extent, Extent, Extent]:
    """Find the lowest and highest z, y and x of the activity.

    Parameters
    ----------
    starts_mm, ends_mm : float64 array, shape (n, 3)
        Ends of the lines, x, y, z.

    Returns
    -------
    three of (float, float) or None
        None if there are too few lines to tell.
    """
    every = slice(None, None, -(-len(starts_mm) // MOST_LINES) or 1)
    starts_mm, ways = starts_mm[every], (ends_mm - starts_mm)[every]
    across = np.hypot(ways[:, 0], ways[:, 1])
    # nearest to the axis
    part = -(starts_mm[:, :2] * ways[:, :2]).sum(axis=1) / np.maximum(across, 1e-9) ** 2
    is_direct = np.abs(ways[:, 2]) <= MAX_SLOPE * across
    places_mm = (starts_mm[:, 2] + part * ways[:, 2])[is_direct]
    found = [_extent(places_mm, starts_mm[:, 2], np.inf)]
    radius_mm = float(np.hypot(starts_mm[:, 0], starts_mm[:, 1]).max(initial=0.0))
    for axis, other in ((1, 0), (0, 1)):
        is_square = np.abs(ways[:, axis]) <= MAX_SLOPE * np.abs(ways[:, other])
        part = -starts_mm[is_square, other] / ways[is_square, other]
        places_mm = starts_mm[is_square, axis] + part * ways[is_square, axis]
        found.append(_extent(places_mm, starts_mm[:, axis], radius_mm))
    return found[0], found[1], found[2]


def _extent(places_mm: Array, reach_mm: Array, radius_mm: float) -> Extent:
    """Find where a profile stands out over its floor.

    Parameters
    ----------
    places_mm, reach_mm : float64 array
        Places where lines cross, and where they end: the profile covers the whole scanner.
    radius_mm : float
        Radius of a ring, which crowds lines at its edge; infinite for no ring.
    """
    if len(places_mm) == 0:
        return None
    first_mm, last_mm = reach_mm.min(), reach_mm.max()
    places_mm = places_mm[(places_mm >= first_mm) & (places_mm <= last_mm)]
    width_mm = BIN_MM
    while width_mm <= WIDEST_BIN_MM:
        low, num = np.floor(first_mm / width_mm), int((last_mm - first_mm) / width_mm) + 2
        bins = (places_mm / width_mm - low).astype(np.int64)
        counts = np.bincount(bins, minlength=num).astype(np.float64)
        middle_mm = (low + np.arange(len(counts)) + 0.5) * width_mm
        counts *= np.sqrt(np.maximum(1 - (middle_mm / radius_mm) ** 2, 0.0))
        smooth = np.convolve(counts, np.ones(3) / 3, mode="same")
        if (top := smooth.max()) >= MIN_TOP_COUNTS:
            floor = np.percentile(smooth, FLOOR)
            level = min(LEVEL + 2 * floor / top, 0.5)  # a high floor is not flat: up to a half
            least = floor + max(level * (top - floor), MIN_SIGMAS * np.sqrt(floor / 3))
            if len(used := np.flatnonzero(smooth > least)) == 0:
                return None
            inner = int(used[-1] - used[0] > 1)  # the mean over three bins widened it by one
            first, last = used[0] + inner, used[-1] + 1 - inner
            return float((low + first) * width_mm), float((low + last) * width_mm)
        width_mm *= 2
    return None


def covering(grid: Grid, extents: tuple[Extent, Extent, Extent], ends_mm: Array) -> Grid:
    """Return a grid with the same voxels about the scanner's centre that also holds the activity.

    The grid is returned unchanged if the larger one would hold ends of lines (x, y, z; mm), or more
    than `MOST_VOXELS`.
    """
    shape = list(grid.shape)
    for axis, extent in enumerate(extents):
        if extent is not None:
            need = 2 * (max(map(abs, extent)) + BIN_MM) / grid.voxel_mm[axis]
            shape[axis] = max(shape[axis], 2 * int(np.ceil(need / 2)))
    large = Grid.centred((shape[0], shape[1], shape[2]), grid.voxel_mm)
    half_mm = np.array(large.shape) * np.array(large.voxel_mm) / 2
    is_free = not (np.abs(ends_mm[:, ::-1]) <= half_mm).all(axis=1).any()
    return large if is_free and np.prod(np.array(shape, float)) <= MOST_VOXELS else grid


def say_uncovered(grid: Grid, extents: tuple[Extent, Extent, Extent]) -> None:
    """Warn of activity outside an image: a reconstruction would put it inside."""
    for axis, name in enumerate("zyx"):
        if (extent := extents[axis]) is None:
            continue
        low = grid.origin_mm[axis] - grid.voxel_mm[axis] / 2
        high = low + grid.shape[axis] * grid.voxel_mm[axis]
        if extent[0] < low - SLACK_MM or extent[1] > high + SLACK_MM:
            log.warning(
                "events come from %.0f to %.0f mm in %s, the image goes from %.0f to %.0f mm: "
                "activity outside is pressed into it; enlarge it (--shape)",
                *extent, name, low, high,
            )  # fmt: skip
