"""Draw the parts that are inspected: each from its name, with sizes spread evenly in each class."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tubepet import rng
from tubepet.phantom.spec import Tube, draw_tube

CLEAN = "clean"
# Near the threshold the expected z grows with about this power of the size (limit_z at 0.1 s). It
# grows less than the volume, for a defect is about as large as the resolution.
POWERS = {
    "pit": 2.5, "groove": 2.5, "crack": 1.7, "thinning": 1.5, "inclusion": 2.5, "bubble": 2.5,
}  # fmt: skip
GOLDEN = 0.6180339887498949  # its multiples modulo 1 are evenly spread, however many


class Planned(NamedTuple):
    """A part to inspect, and its acquisition; it lies `shift_mm` (x, y, z) beside the drawing."""

    name: str
    tube: Tube
    duration_s: float
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


def size_range_mm(
    range_mm: tuple[float, float], defect: str, duration_s: float, reference_s: float
) -> tuple[float, float]:
    """Scale a range of sizes from one duration to another: z is proportional to sqrt(time)."""
    factor = (reference_s / duration_s) ** (0.5 / POWERS[defect])
    return range_mm[0] * factor, range_mm[1] * factor


def looked_for(
    sizes_mm: Mapping[str, Any], duration_s: float, reference_s: float
) -> dict[str, list[float]]:
    """Return the ranges of sizes (mm) to look for by class: those of the run and of these parts."""
    ranges = {}
    for name, (low, high) in sizes_mm.items():
        scaled = size_range_mm((low, high), name, duration_s, reference_s)
        ranges[name] = [min(low, scaled[0]), max(high, scaled[1])]
    return ranges


def planned(
    batch: str, duration_s: float, reference_s: float, phantom: Mapping[str, Any], seed: int
) -> list[Planned]:
    """Draw the parts of a batch. A part depends on its name only, not on its batch.

    Families come in turn. A thinning is inside, for the outside changes no activity. A part has the
    same shape at every duration; its defect is smaller at longer ones.

    Parameters
    ----------
    batch : str
        Class, first and last part: ``pit_0-19``.
    duration_s, reference_s : float
        Duration of the acquisition, and the one that the sizes are for.
    phantom : mapping
        Config section `phantom`: families and ranges, also those of sizes.
    """
    defect, _, numbers = batch.partition("_")
    first, last = (int(number) for number in numbers.split("-"))
    return [
        planned_part(defect, i, duration_s, reference_s, phantom, seed)
        for i in range(first, last + 1)
    ]


def planned_part(
    defect: str, i: int, duration_s: float, reference_s: float, phantom: Mapping[str, Any],
    seed: int,
) -> Planned:  # fmt: skip
    """Draw part i of a class; see `planned`."""
    fixed: dict[str, Any] = {"defect": "none" if defect == CLEAN else defect}
    if defect != CLEAN:
        low, high = size_range_mm(
            phantom["defect_size_mm"][defect], defect, duration_s, reference_s
        )
        fixed["defect_size_mm"] = low * (high / low) ** ((i + 0.5) * GOLDEN % 1)
    if defect == "thinning":
        fixed["thinning_side"] = "inner"
    tube = draw_tube(
        f"tube_{i:04d}", phantom, fixed, rng.derived_seed(seed, "pod", defect, i),
        where=f"{defect} {i}",
    )  # fmt: skip
    return Planned(f"{defect}_{i:04d}", tube, duration_s)
