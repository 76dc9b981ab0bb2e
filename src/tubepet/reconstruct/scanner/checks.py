"""Refuse input that cannot belong together, in one sentence, before anything is computed."""

import dataclasses
import os
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from tubepet import layout
from tubepet.bounds import check_mm
from tubepet.errors import InputError
from tubepet.layout import Family
from tubepet.logs import log
from tubepet.reconstruct.projection.lines import Lines
from tubepet.types import Grid, Listmode, Scanner, Volume

# image, sensitivity, prior, their blurred copies and what numpy makes in between, float64
OTHER_IMAGES = 12
# Aluminium has 0.023 per mm at 511 keV, steel 0.065, lead 0.18; water in 1/cm would be 0.096.
DENSE_PER_MM, HIGHEST_PER_MM = 0.03, 0.2
MOST_OFF = 2.0  # ratio of distances from the middle, of singles and of crystals
SMALLEST_OBJECT_MM = 0.5
MOST_BACKGROUND = 1.1  # of the events
# Events come from beside an object by blur and positron range, less than this.
BESIDE_MM = 5.0
MOST_MISSED, MOST_BESIDE = 0.1, 0.9
AIR_PER_MM = 1e-4  # ten times air's attenuation at 511 keV, a hundredth of water's
FAMILY_COUNTS = ("around", "columns", "rings")
LARGEST = {"num_rings": 512, "num_columns": 2048}  # whole numbers; all others are at most 1e5
WORDS = {
    "time_resolution_per": ("pair", "single"),
    "dead_time_kind": ("paralysable", "nonparalysable"),
}
PAIRS = ("energy_window_kev", "readout_block")
MAY_BE_0 = ("energy_window_kev", "min_transaxial_distance_mm", "dead_time_ns", "pile_up_ns")


def check_memory(grid: Grid) -> None:
    """Say how much memory an image needs; refuse one that the machine cannot hold."""
    voxels = float(np.prod([float(n + 3) for n in grid.shape]))
    private = numba.get_num_threads() / 2  # float32
    need_gb = 8 * voxels * (private + OTHER_IMAGES) / 1e9
    have_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    log.info("the image needs about %.2g GB of memory", need_gb)
    if need_gb > have_gb:
        raise InputError(
            f"image (--shape; reconstruct.num_pixels, num_slices): {grid.shape} voxels need about "
            f"{need_gb:.3g} GB, expected at most the {have_gb:.3g} GB of this machine"
        )


def check_scanner(name: object, scanner: Scanner) -> None:
    """Refuse a scanner whose fields are no numbers, or of a size that none has.

    The bounds are those of the config's schema, which a scanner's own file does not pass.
    """
    for key, words in WORDS.items():
        if (got := getattr(scanner, key)) not in words:
            raise InputError(
                f"{name}: scanner.{key}: got {got!r:.60}, expected one of {', '.join(words)}"
            )
    for key, value in vars(scanner).items():
        if key in WORDS or key in layout.TABLES:
            continue
        is_pair = key in PAIRS
        numbers = value if is_pair and isinstance(value, list | tuple) else [value]
        low = 0 if key in MAY_BE_0 else np.nextafter(0, 1)
        kinds = (int,) if key in LARGEST or key == "readout_block" else (int, float)
        is_sound = len(numbers) == 1 + is_pair and all(
            type(n) in kinds and low <= n <= LARGEST.get(key, 1e5) for n in numbers
        )
        if not is_sound:
            raise InputError(f"{name}: scanner.{key}: got {value!r:.60}, expected as in the config")
    for key, is_sound in (
        ("modules", _are_families(scanner.modules)),
        ("dead_crystals", _are_all(scanner.dead_crystals, int, 0, np.inf)),
        ("efficiencies", isinstance(scanner.efficiencies, str)),
    ):
        if not is_sound:
            value = getattr(scanner, key)
            raise InputError(f"{name}: scanner.{key}: got {value!r:.60}, expected as in the config")
    for sentence in layout.problems(scanner):
        raise InputError(f"{name}: {sentence}")


def _are_families(value: Any) -> bool:
    """Whether these could be `scanner.modules`, as the config's schema says."""
    keys = {one.name for one in dataclasses.fields(Family)}
    if not isinstance(value, list | tuple):
        return False
    for one in value:
        if not isinstance(one, dict) or set(one) != keys or not one["z_mm"]:
            return False
        counts = [one[key] for key in FAMILY_COUNTS]
        sizes = [one[k] for k in keys - {*FAMILY_COUNTS, "z_mm", "first_angle_deg"}]
        if not (
            _are_all(counts, int, 1, 512)
            and _are_all(sizes, (int, float), np.nextafter(0, 1), 1000)
            and _are_all([one["first_angle_deg"]], (int, float), -360, 360)
            and _are_all(one["z_mm"], (int, float), -2000, 2000)
            and len(one["z_mm"]) <= 512
        ):
            return False
    return True


def _are_all(values: Any, kinds: Any, low: float, high: float) -> bool:
    """Whether this is a list of numbers of a kind within bounds."""
    return isinstance(values, list | tuple) and all(
        isinstance(n, kinds) and not isinstance(n, bool) and low <= n <= high for n in values
    )


def check_crystals(events: Listmode, scanner: Scanner) -> None:
    """Refuse crystals that the scanner lacks."""
    for crystal in (events.crystal1, events.crystal2):
        is_foreign = (crystal < 0) | (crystal >= scanner.num_crystals)
        if is_foreign.any():
            raise InputError(
                f"coincidences: got crystal {crystal[is_foreign][0]}, expected "
                f"0..{scanner.num_crystals - 1} (section scanner)"
            )


def check_ends(name: object, ends_mm: NDArray[np.float64], grid: Grid) -> None:
    """Refuse ends of lines inside the image, where projection would stop, and ends that are no mm.

    Parameters
    ----------
    ends_mm : float64 array, shape (..., 3)
    """
    check_mm(name, "coordinates", ends_mm)
    num_inside = int((_rows(ends_mm, grid) >= 0).all(axis=-1).sum())
    if num_inside:
        raise InputError(
            f"{name}: got {num_inside} line ends inside the image, expected all outside "
            "(a smaller image, or ends in mm about the image's middle)"
        )


def check_lengths(
    name: object, places_mm: NDArray[np.float64], crystals_mm: NDArray[np.float64]
) -> None:
    """Refuse singles far from the crystals: they are of another scanner, or in another unit.

    Parameters
    ----------
    places_mm, crystals_mm : float64 array, shape (n, 3)
    """
    check_mm(name, "coordinates", places_mm)
    reach_mm, crystals_reach_mm = (
        float(np.median(np.linalg.norm(places, axis=1))) for places in (places_mm, crystals_mm)
    )
    ratio = reach_mm / crystals_reach_mm
    if not 1 / MOST_OFF < ratio < MOST_OFF:
        of = {0.1: "cm", 0.001: "m"}
        units = [of[f] for f in of if 1 / MOST_OFF < ratio / f < MOST_OFF]
        hint = f"the file in {units[0]}" if units else "another scanner"
        units = [of[f] for f in of if 1 / MOST_OFF < ratio * f < MOST_OFF]
        hint = f"the scanner in {units[0]}" if units else hint
        raise InputError(
            f"{name}: got places {reach_mm:.4g} mm from the middle, expected about the "
            f"{crystals_reach_mm:.4g} mm of the crystals of --scanner ({hint}?)"
        )


def check_background(num_events: int, background_counts: float) -> None:
    """Refuse a background of more events than there are.

    Estimates are off by a few per cent, and both numbers by their noise.
    """
    noise = 5 * float(np.sqrt(num_events + background_counts))
    if background_counts > MOST_BACKGROUND * num_events + noise:
        raise InputError(
            f"background: got {background_counts:.0f} scattered and random events of "
            f"{num_events} through the image, expected fewer than all: activity lies outside the "
            "image or the attenuation map; enlarge the image (--shape; reconstruct.num_slices, "
            "num_pixels) or shift the map"
        )


def check_meets(name: object, mu: Volume, lines: Lines, background_counts: float | None) -> None:
    """Refuse a map that too many events miss: events beside the object can only be background.

    Parameters
    ----------
    mu : Volume
        Attenuation on its own grid, 1/mm; without any, nothing is checked.
    lines : Lines
        Through the image.
    background_counts : float or None
        Scatter and randoms on all lines through the image. None: unknown, and only a map that
        almost all events miss is refused.
    """
    if not (mu.array > AIR_PER_MM).any():
        return
    pads = [int(np.ceil(BESIDE_MM / size)) + 1 for size in mu.grid.voxel_mm]
    far = np.pad(mu.array <= AIR_PER_MM, [(n, n) for n in pads], constant_values=True)
    near = distance_transform_edt(far, sampling=mu.grid.voxel_mm) <= BESIDE_MM
    oz, oy, ox = (
        o - n * d for o, n, d in zip(mu.grid.origin_mm, pads, mu.grid.voxel_mm, strict=True)
    )
    grid = Grid(near.shape, mu.grid.voxel_mm, (oz, oy, ox))
    met = Lines(grid, lines.points, lines.first, lines.second).forward(near.astype(np.float64)) > 0
    missed, num = int((~met).sum()), len(lines)
    few = "few" if background_counts is None else f"at most {background_counts:.0f} of background"
    sentence = (
        f"{name}: got {missed} of {num} events beside the object of the map, expected {few}: shift "
        "the map to where the activity is (z, y, x in mm from the scanner's middle)"
    )
    if background_counts is None:
        if missed > MOST_BESIDE * num:
            raise InputError(sentence)
        if missed > num / 2:
            log.warning(sentence)
    elif missed > background_counts + MOST_MISSED * num + 5 * np.sqrt(num + background_counts):
        raise InputError(sentence)


def check_attenuation(name: object, mu: Volume, ends_mm: NDArray[np.float64], grid: Grid) -> None:
    """Refuse a map of impossible values, of another frame or unit, or cut off; warn of dense ones.

    Parameters
    ----------
    mu : Volume
        Attenuation at 511 keV on a grid of its own, 1/mm.
    ends_mm : float64 array, shape (n, 3)
        Where lines may end.
    grid : Grid
        Grid of the image.
    """
    if not (np.isfinite(mu.array).all() and (mu.array >= 0).all()):
        raise InputError(f"{name}: got negative or non-finite values, expected >= 0 1/mm")
    if not (mu.array > 0).any():
        return
    _check_strength(name, float(mu.array.max()))
    rows = _rows(ends_mm, mu.grid)
    rows = rows[(rows >= 0).all(axis=-1)]
    if (mu.array[tuple(rows.T)] > 0).any():
        raise InputError(
            f"{name}: attenuates at the crystals, expected an object inside the scanner (voxel "
            "size and origin in mm)"
        )
    boxes = [_box_mm(mu.grid, mu.array > 0), _box_mm(grid, None)]
    size_mm = float((boxes[0][1] - boxes[0][0]).max())
    if size_mm < SMALLEST_OBJECT_MM and mu.array.max() > AIR_PER_MM:
        raise InputError(
            f"{name}: got an object of {size_mm:g} mm, expected voxel sizes in mm (m or cm?)"
        )
    if (np.maximum(*(low for low, _ in boxes)) > np.minimum(*(high for _, high in boxes))).any():
        places = "; ".join(f"{low.round(1)} to {high.round(1)}" for low, high in boxes)
        raise InputError(
            f"{name}: the object and the image do not meet (z, y, x in mm: {places}), expected "
            "both in the scanner's frame"
        )
    for i, axis in enumerate("zyx"):
        for end, row in (("lower", 0), ("upper", -1)):
            centre_mm = mu.grid.axes_mm()[i][row]
            is_within = boxes[1][0][i] < centre_mm < boxes[1][1][i]
            if is_within and (mu.array.take(row, axis=i) > AIR_PER_MM).any():
                raise InputError(
                    f"{name}: attenuates at its {end} end in {axis} ({centre_mm:.1f} mm), within "
                    "the image, expected a map that holds the whole object with air around it"
                )


def _check_strength(name: object, highest: float) -> None:
    """Refuse attenuation (1/mm) above any material's, and warn above aluminium's."""
    if highest > HIGHEST_PER_MM:
        raise InputError(
            f"{name}: got attenuation up to {highest:.3g}, expected at most {HIGHEST_PER_MM:g} "
            "1/mm at 511 keV (1/cm? then divide by 10)"
        )
    if highest > DENSE_PER_MM:
        log.warning(
            "%s: attenuation up to %.3g 1/mm, more than aluminium's: right for steel or brass, "
            "but if the map is in 1/cm, divide it by 10", name, highest,
        )  # fmt: skip


def _rows(ends_mm: NDArray[np.float64], grid: Grid) -> NDArray[np.int64]:
    """Index (z, y, x) of the voxel of every place (x, y, z); -1 where there is none."""
    place = (ends_mm[..., ::-1] - np.array(grid.origin_mm)) / np.array(grid.voxel_mm)
    index = np.rint(np.clip(place, -1, np.array(grid.shape))).astype(np.int64)
    return np.where(index < np.array(grid.shape), index, -1)


def _box_mm(
    grid: Grid, is_used: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest (z, y, x) of the used voxels, or of all."""
    whole = [np.arange(n) for n in grid.shape]
    used = whole if is_used is None else np.nonzero(is_used)
    low, high = (np.array([f(rows) for rows in used]) for f in (np.min, np.max))
    voxel, origin = np.array(grid.voxel_mm), np.array(grid.origin_mm)
    return origin + (low - 0.5) * voxel, origin + (high + 0.5) * voxel
