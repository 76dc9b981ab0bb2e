"""Read a file that describes a part.

It is YAML or JSON of one of three kinds: `family`, lengths and shape of a tube; the `truth.json` of
a simulated tube, whose defect is left out; or a part of meshes, labels or another material
(`phantom.parts`).
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tubepet import io
from tubepet.bounds import read_yaml
from tubepet.errors import InputError
from tubepet.inspect.part import Part, of_tube, of_voxels
from tubepet.phantom import parts, spec
from tubepet.phantom.spec import FAMILY_KEYS, Tube

VOXELS = {"voxel_mm": 0.5, "supersampling": 4}  # of drawings, as the config's default
MOST_MM = 200.0  # of a length: more voxels than memory would hold
LENGTHS = ("length_mm", "bore_radius_mm", "wall_mm")
# Values of keys that a file may leave out: no turn, and the shapes of other families.
NEUTRAL = Tube(
    family="round", defect="none", length_mm=1.0, bore_radius_mm=1.0, wall_mm=1.0,
    orientation_deg=0.0, ellipse_ratio=1.0, corner_radius_ratio=1.0, eccentricity_ratio=0.0,
    step_ratio=1.0, bend_mm=1e-3, defect_size_mm=0.0, defect_z_mm=0.0, defect_deg=0.0,
    defect_radius_ratio=0.0, groove_kind="axial", thinning_side="inner",
)  # fmt: skip


def read_part(path: Path, phantom: Mapping[str, Any] = VOXELS) -> Part:
    """Read the drawing of a part.

    Parameters
    ----------
    path : Path
        .yaml, .yml or .json.
    phantom : mapping
        voxel_mm and supersampling.

    Raises
    ------
    InputError
        If the file is damaged, a key is unknown, missing or of another family, or a value is no
        number or impossible.
    """
    told = content(path)
    # truth.json has a key `tube` too, the name of the tube
    is_own = isinstance(told, dict) and "drawn" not in told and bool(told.keys() & parts.KEYS)
    if is_own:
        return of_voxels(parts.draw(str(path), parts.read(path), phantom))
    return of_tube(tube_of(str(path), told), dict(phantom))


def content(path: Path) -> Any:
    """Return what a part's YAML or JSON file holds, unchecked."""
    if path.suffix == ".json":
        return io.read_json(path)
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{path}: got {path.suffix or 'no suffix'}, expected .yaml, .yml or .json")
    return read_yaml(path)


def tube_of(name: str, told: Any) -> Tube:
    """Return the tube that a file describes; `name` is the file's, for errors."""
    if not isinstance(told, dict):
        raise InputError(f"{name}: got no keys, expected the numbers of a tube (family, length_mm)")
    if "drawn" in told:
        return _checked(name, _without_defect(name, told["drawn"]))
    family = told.get("family")
    if family not in spec.FAMILIES:
        raise InputError(
            f"{name}: family: got {family!r:.60}, expected one of {', '.join(spec.FAMILIES)}"
        )
    own = [key for key, owner in FAMILY_KEYS.items() if owner == family]
    needed = ["family", *LENGTHS, *own]
    for key in told:
        if key not in (*needed, "orientation_deg"):
            raise InputError(
                f"{name}: {key!s:.60}: got a key that no {family} part has, expected "
                f"{', '.join(needed)} and, if it is turned, orientation_deg"
            )
    for key in needed:
        if key not in told:
            raise InputError(f"{name}: {key}: missing, expected it of a {family} part")
    return _checked(name, asdict(NEUTRAL) | told)


def _without_defect(name: str, drawn: Any) -> Mapping[str, Any]:
    """Return the values of the tube in a `truth.json`, without its defect."""
    expected = {field.name for field in fields(Tube)}
    if not isinstance(drawn, dict) or set(drawn) != expected:
        raise InputError(f"{name}: drawn: expected the keys {', '.join(sorted(expected))}")
    kept = {key: value for key, value in drawn.items() if "defect" not in key}
    return asdict(NEUTRAL) | kept


def _checked(name: str, values: Mapping[str, Any]) -> Tube:
    tube = Tube(**values)
    spec.check(name, tube)
    for key in LENGTHS:
        if getattr(tube, key) > MOST_MM:
            raise InputError(
                f"{name}: {key}: got {getattr(tube, key):g} mm, expected at most {MOST_MM:g} mm"
            )
    return tube
