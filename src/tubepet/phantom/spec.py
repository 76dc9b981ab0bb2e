"""What a tube looks like: drawn from the ranges of the config, or fixed there tube by tube.

Tubes take F families and D defect classes in turn by their index i, so that all pairs occur. The
family is i mod F, the defect (i + i div lcm(F, D)) mod D. The second term shifts the defects by one
after each full round; without it pairs would be missing where F and D share a factor.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from tubepet import rng
from tubepet.errors import InputError

FAMILIES = ("round", "elliptical", "rounded_square", "eccentric", "stepped", "bent")
DEFECTS = ("none", "pit", "groove", "crack", "thinning", "inclusion", "bubble")
GROOVE_KINDS = ("circumferential", "axial")
THINNING_SIDES = ("inner", "outer")
# Share of the half length, from the middle, in which defects are placed: clear of the open ends.
DEFECT_Z_SHARE = 0.6

# Keys that have a meaning for one family or one class of defect only.
FAMILY_KEYS = {
    "ellipse_ratio": "elliptical",
    "corner_radius_ratio": "rounded_square",
    "eccentricity_ratio": "eccentric",
    "step_ratio": "stepped",
    "bend_mm": "bent",
}
DEFECT_KEYS = {
    "groove_kind": ("groove",),
    "thinning_side": ("thinning",),
    "defect_radius_ratio": ("inclusion", "bubble"),
}


@dataclass(frozen=True)
class Tube:
    """One tube; the config may fix each of these fields for a tube (`phantom.tubes`).

    Attributes
    ----------
    family, defect : str
        One of `FAMILIES`, of `DEFECTS`.
    length_mm : float
        Along z; wall and fluid end together, at planes z = +-length_mm / 2.
    bore_radius_mm : float
        Radius of the circle that just holds the bore (its wider part, if stepped).
    wall_mm : float
        Wall thickness (eccentric: mean; stepped: at the wider part).
    orientation_deg : float
        Turn of the cross section (of the bend) about the axis.
    ellipse_ratio : float
        Minor over major semi-axis of the bore.
    corner_radius_ratio : float
        Corner radius over half width of the bore.
    eccentricity_ratio : float
        Shift of the bore against the outside, over wall_mm; 1 would break the wall.
    step_ratio : float
        Bore radius at z > 0 over that at z < 0.
    bend_mm : float
        Sagitta of the centre line, a parabola over the whole length.
    defect_size_mm : float
        pit, inclusion, bubble: diameter; groove, crack: width; thinning: width of the patch.
    defect_z_mm, defect_deg : float
        Place along the tube and around it.
    defect_radius_ratio : float
        Place of an inclusion or bubble between the middle (0) and touching the wall (1).
    groove_kind, thinning_side : str
        One of `GROOVE_KINDS`, of `THINNING_SIDES`.
    """

    family: str
    defect: str
    length_mm: float
    bore_radius_mm: float
    wall_mm: float
    orientation_deg: float
    ellipse_ratio: float
    corner_radius_ratio: float
    eccentricity_ratio: float
    step_ratio: float
    bend_mm: float
    defect_size_mm: float
    defect_z_mm: float
    defect_deg: float
    defect_radius_ratio: float
    groove_kind: str
    thinning_side: str

    def meaningful(self) -> dict[str, Any]:
        """Return the fields that shape this tube, without those of other families or defects."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if _applies(name, self)}


def _applies(name: str, tube: Tube) -> bool:
    if name in FAMILY_KEYS:
        return tube.family == FAMILY_KEYS[name]
    if name in DEFECT_KEYS:
        return tube.defect in DEFECT_KEYS[name]
    return tube.defect != "none" or not name.startswith("defect_")


def draw_tube(
    name: str,
    phantom: Mapping[str, Any],
    override: Mapping[str, Any],
    seed: int,
    where: str = "",
) -> Tube:
    """Draw a tube. Fixing a value does not change the random numbers behind the others.

    Parameters
    ----------
    name : str
        ``tube_`` and its index.
    phantom : dict
        Config section `phantom`: lists, ranges [low, high].
    override : dict
        Values to fix, by field of `Tube`.
    seed : int
        Seed of the run.
    where : str
        Name of `override` in messages; by default the config key.

    Returns
    -------
    Tube

    Raises
    ------
    InputError
        If a key of the override is unknown or does not apply, or a value is impossible.
    """
    where = where or f"phantom.tubes.{name}"
    known = [field.name for field in fields(Tube)]
    for key in override:
        if key not in known:
            raise InputError(f"{where}.{key}: unknown key, expected one of {', '.join(known)}")
    random = rng.stream(seed, "phantom", name)
    index = int(name.removeprefix("tube_"))
    families, defects = phantom["families"], phantom["defects"]
    rounds = index // math.lcm(len(families), len(defects))
    values: dict[str, Any] = {
        "family": families[index % len(families)],
        "defect": defects[(index + rounds) % len(defects)],
    }
    ranges = ("length_mm", "bore_radius_mm", "wall_mm", *FAMILY_KEYS)
    values |= {key: float(random.uniform(*phantom[key])) for key in ranges}
    size_share, z_share = float(random.uniform()), float(random.uniform(-1, 1))
    values["orientation_deg"] = float(random.uniform(0, 360))
    values["defect_deg"] = float(random.uniform(0, 360))
    values["defect_radius_ratio"] = float(random.uniform())
    values["groove_kind"] = GROOVE_KINDS[int(random.integers(2))]
    values["thinning_side"] = THINNING_SIDES[int(random.integers(2))]
    values |= dict(override)
    low_mm, high_mm = phantom["defect_size_mm"].get(values["defect"], (0.0, 0.0))
    size_mm = low_mm + size_share * (high_mm - low_mm)
    half_mm = _number(where, "length_mm", values["length_mm"]) / 2
    drawn = {"defect_size_mm": size_mm, "defect_z_mm": z_share * DEFECT_Z_SHARE * half_mm}
    values = drawn | values
    tube = Tube(**values)
    check(where, tube)
    for key in override:
        if not _applies(key, tube):
            raise InputError(
                f"{where}.{key}: got a value for a {tube.family} tube with defect {tube.defect}, "
                "expected only keys that shape it"
            )
    return tube


def given_tube(numbers: Mapping[str, Any], where: str) -> Tube:
    """Return a tube from given numbers; nothing is drawn at random.

    Parameters
    ----------
    numbers : mapping
        By field of `Tube`. Needed are family, length_mm, bore_radius_mm, wall_mm, the family's
        key in `FAMILY_KEYS`, and the size of a defect. Turns, places and kinds have a default.
    where : str
        Name of `numbers` in messages.

    Raises
    ------
    InputError
        If a number is missing, unknown, does not apply, or is impossible.
    """
    plain: dict[str, Any] = {
        "defect": "none", "orientation_deg": 0.0, "defect_z_mm": 0.0, "defect_deg": 0.0,
        "defect_radius_ratio": 0.0, "groove_kind": GROOVE_KINDS[0],
        "thinning_side": THINNING_SIDES[0],
    }  # fmt: skip
    idle: dict[str, Any] = dict.fromkeys((*FAMILY_KEYS, "defect_size_mm"), 1e-3)
    known = [field.name for field in fields(Tube)]
    if unknown := [key for key in numbers if key not in known]:
        raise InputError(f"{where}.{unknown[0]}: unknown key, expected {', '.join(known)}")
    for key in known:
        is_idle = key in plain or key in idle
        if key in idle and key in FAMILY_KEYS:
            is_idle = numbers.get("family") != FAMILY_KEYS[key]
        if key == "defect_size_mm":
            is_idle = numbers.get("defect", "none") == "none"
        if key not in numbers and not is_idle:
            raise InputError(f"{where}.{key}: missing, expected a value (nothing is drawn)")
    tube = Tube(**(idle | plain | dict(numbers)))
    check(where, tube)
    return tube


def _number(where: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}.{key}: got {value!r}, expected a number")
    return float(value)


def check(where: str, tube: Tube) -> None:
    """Raise `InputError` if the tube cannot be made; `where` names the config key."""
    choices = {
        "family": FAMILIES,
        "defect": DEFECTS,
        "groove_kind": GROOVE_KINDS,
        "thinning_side": THINNING_SIDES,
    }
    for key, allowed in choices.items():
        if getattr(tube, key) not in allowed:
            raise InputError(
                f"{where}.{key}: got {getattr(tube, key)!r}, expected one of {', '.join(allowed)}"
            )
    numbers = {
        field.name: _number(where, field.name, getattr(tube, field.name))
        for field in fields(tube)
        if field.name not in choices
    }
    for key in ("length_mm", "bore_radius_mm", "wall_mm", "ellipse_ratio", "step_ratio", "bend_mm"):
        if numbers[key] <= 0:
            raise InputError(f"{where}.{key}: got {numbers[key]:g}, expected more than 0")
    for key in ("ellipse_ratio", "corner_radius_ratio", "step_ratio", "defect_radius_ratio"):
        if not 0 <= numbers[key] <= 1:
            raise InputError(f"{where}.{key}: got {numbers[key]:g}, expected 0 to 1")
    if not 0 <= numbers["eccentricity_ratio"] < 1:
        raise InputError(
            f"{where}.eccentricity_ratio: got {tube.eccentricity_ratio:g}, expected 0 to below 1 "
            "(at 1 the bore breaks the wall)"
        )
    if tube.family == "bent" and tube.bend_mm > tube.length_mm / 4:
        raise InputError(
            f"{where}.bend_mm: got {tube.bend_mm:g} mm, expected at most a quarter of length_mm "
            f"{tube.length_mm:g} mm"
        )
    if tube.defect == "none":
        return
    widest_mm = 2 * tube.bore_radius_mm
    if not 0 < tube.defect_size_mm <= widest_mm:
        raise InputError(
            f"{where}.defect_size_mm: got {tube.defect_size_mm:g} mm, expected more than 0 and at "
            f"most the bore, {widest_mm:g} mm"
        )
    if abs(tube.defect_z_mm) > tube.length_mm / 2:
        raise InputError(
            f"{where}.defect_z_mm: got {tube.defect_z_mm:g} mm, expected within the tube, "
            f"+-{tube.length_mm / 2:g} mm"
        )
