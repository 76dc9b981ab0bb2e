"""The user's own parts: a tube's numbers, a pair of meshes, or a label volume, put on voxels.

A part is a mapping: an entry of the config's `phantom.parts`, or a YAML file. Exactly one of the
keys `tube`, `body` and `labels` says what it is; `KEYS` has the keys that go with each. The middle
of its bounding box lies at the scanner centre, and its z is the scanner's axis.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.bounds import read_yaml
from tubepet.errors import InputError
from tubepet.phantom import geometry, label_volumes, maps, materials, meshes, spec
from tubepet.phantom.geometry import AIR, FLUID, Filling, Sampled, Voxels
from tubepet.phantom.spec import Tube
from tubepet.types import Grid

Array = NDArray[np.float64]
Labels = NDArray[np.uint8]

WALL = 2  # label of what holds the fluid, in tubes and meshes
# For each kind of part: further keys that it may have, and those that it must have.
OF_TWO = ("wall", "wall_g_cm3", "fluid", "fluid_g_cm3")
KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "tube": (OF_TWO, ()),
    "body": (("cavity", "unit", "defect", *OF_TWO), ("cavity", "unit")),
    "labels": (("table", "defect"), ("table",)),
}
PATHS = ("body", "cavity", "labels", "table")
DEFECT_KEYS = ("class", "file")
# Share of a cavity that may lie outside its body: triangles only approximate curved surfaces.
MOST_OUTSIDE = 0.01
MOST_VOXELS = 1 << 26  # half a gigabyte while they are counted
DEFAULT_WALL, DEFAULT_FLUID = "aluminium", "water"


@dataclass(frozen=True)
class Room:
    """What a part must fit into.

    Attributes
    ----------
    bore_mm : float
        Radius of the scanner's bore.
    half_width_mm, half_length_mm : float
        Of the image.
    """

    bore_mm: float
    half_width_mm: float
    half_length_mm: float


def read(path: str | Path) -> dict[str, Any]:
    """Read a part from a YAML file of its own; paths in it are relative to it.

    A mapping with the key `family` is taken for a tube's numbers.

    Raises
    ------
    InputError
        If it is no such mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: got no such file, expected a part (YAML)")
    part: Any = read_yaml(path)
    if not isinstance(part, dict):
        raise InputError(f"{path}: expected a mapping with one of {', '.join(KEYS)}")
    if "family" in part:
        part = {"tube": part}
    part = {"name": path.stem} | part
    for key in PATHS:
        if isinstance(part.get(key), str):
            part[key] = str(path.parent / part[key])
    if isinstance(defect := part.get("defect"), dict) and isinstance(defect.get("file"), str):
        part["defect"] = defect | {"file": str(path.parent / defect["file"])}
    return part


def kind_of(where: str, part: Mapping[str, Any]) -> str:
    """Check the keys of a part, and return its kind, a key of `KEYS`.

    Raises
    ------
    InputError
        If it has not exactly one kind, or a key is missing, wrong, or of another kind.
    """
    kinds = [key for key in KEYS if key in part]
    if len(kinds) != 1:
        raise InputError(
            f"{where}: got {' and '.join(kinds) or 'none of them'}, expected exactly one of "
            f"{', '.join(KEYS)}"
        )
    known, needed = KEYS[kinds[0]]
    if kinds[0] == "body" and "cavity" not in part:
        raise InputError(
            f"{where}: got a body without a cavity, expected the key cavity, the mesh of the "
            "hollow that the fluid fills"
        )
    for key in needed:
        if key not in part:
            raise InputError(f"{where}: got {kinds[0]} without {key}, expected both")
    for key in part:
        if key not in ("name", kinds[0], *known):
            raise InputError(
                f"{where}.{key}: got a key that does not go with {kinds[0]}, expected only name, "
                f"{', '.join((kinds[0], *known))}"
            )
    unit = part.get("unit", "mm")
    if unit not in meshes.UNITS_MM:
        units = ", ".join(meshes.UNITS_MM)
        raise InputError(f"{where}.unit: got {unit!r}, expected one of {units}")
    if defect := part.get("defect"):
        classes = [name for name in spec.DEFECTS if name != "none"]
        if not isinstance(defect, Mapping) or set(defect) != set(DEFECT_KEYS):
            raise InputError(f"{where}.defect: got {defect!r}, expected the keys class and file")
        if defect["class"] not in classes:
            raise InputError(
                f"{where}.defect.class: got {defect['class']!r}, expected one of "
                f"{', '.join(classes)}"
            )
    return kinds[0]


def draw(where: str, part: Mapping[str, Any], phantom: Mapping[str, Any]) -> Voxels:
    """Put a part on voxels.

    Parameters
    ----------
    where : str
        Its config key or file, for messages.
    part : mapping
    phantom : mapping
        Config section `phantom`: voxel_mm and supersampling.

    Raises
    ------
    InputError
        If a file, a number or a material cannot be used, or a defect changes no sample point.
    """
    kind = kind_of(where, part)
    voxel_mm, supersampling = phantom["voxel_mm"], phantom["supersampling"]
    if kind == "tube":
        tube = spec.given_tube(part["tube"], f"{where}.tube")
        voxels = geometry.voxelise(tube, voxel_mm, supersampling)
        return replace(voxels, fillings=_two(where, part))
    if kind == "body":
        fillings: tuple[Filling, ...] = _two(where, part)
        pair = [meshes.read(part[key], part["unit"]) for key in ("body", "cavity")]
        if defect := part.get("defect"):
            pair.append(meshes.read(defect["file"], part["unit"]))
        shift_mm = -pair[0].box_mm.mean(axis=0)
        pair = [mesh.moved(shift_mm) for mesh in pair]
        _check_inside(pair[0], pair[1:])
        grid = _around(where, pair[0].box_mm, voxel_mm)
        slabs = _mesh_slabs(where, pair, geometry.sample_places_mm(grid, supersampling))
    else:
        drawn = label_volumes.read(part["labels"], part["table"])
        made = drawn
        if defect := part.get("defect"):
            made = label_volumes.read(defect["file"], part["table"])
            if made.grid != drawn.grid or made.fillings != drawn.fillings:
                raise InputError(
                    f"{defect['file']}: got other voxels or materials than {part['labels']}, "
                    "expected the same part with its defect"
                )
        grid = _around(where, drawn.box_mm - drawn.box_mm.mean(axis=0), voxel_mm)
        fillings = drawn.fillings
        slabs = _label_slabs(made, drawn, geometry.sample_places_mm(grid, supersampling))
    voxels = geometry.measured(_in_slices(slabs, supersampling), grid, supersampling, fillings)
    if part.get("defect") and voxels.defect_box_mm is None:
        raise InputError(
            f"{where}.defect: got {part['defect']['file']}, which changes no sample point, "
            "expected the part as it is, with its defect"
        )
    return voxels


def _two(where: str, part: Mapping[str, Any]) -> tuple[Filling, Filling]:
    """Fluid and wall of a part that has just these."""
    found = [
        materials.filling(f"{where}.{key}", part.get(key, default), part.get(f"{key}_g_cm3"), share)
        for key, default, share in (("fluid", DEFAULT_FLUID, 1.0), ("wall", DEFAULT_WALL, 0.0))
    ]
    return found[0], found[1]


def _check_inside(body: meshes.Mesh, cavities: list[meshes.Mesh]) -> None:
    """Raise `InputError` if the box of a cavity is not in that of its body."""
    low_mm, high_mm = body.box_mm
    for cavity in cavities:
        low, high = cavity.box_mm
        out_mm = float(np.maximum(low_mm - low, high - high_mm).max())
        if out_mm > MOST_OUTSIDE * float(np.ptp(body.box_mm, axis=0).max()):
            raise InputError(
                f"{cavity.path}: got a cavity that reaches {out_mm:.3g} mm out of the body "
                f"{body.path}, expected it inside (same unit and coordinates?)"
            )


def _around(where: str, box_mm: Array, voxel_mm: float) -> Grid:
    """Return the grid around a box whose middle is the origin, and a voxel more on each side."""
    half_mm = np.abs(box_mm).max(axis=0)[::-1]
    nz, ny, nx = (2 * (math.ceil(half / voxel_mm) + 1) for half in half_mm)
    if nz * ny * nx > MOST_VOXELS:
        raise InputError(
            f"{where}: got a part of {2 * half_mm.max():.0f} mm, which is {nz * ny * nx:.1e} "
            f"voxels of {voxel_mm:g} mm, expected at most {MOST_VOXELS:.1e} (phantom.voxel_mm)"
        )
    return Grid.centred((nz, ny, nx), (voxel_mm, voxel_mm, voxel_mm))


def _in_slices(
    planes: Iterable[tuple[Labels, Labels]], supersampling: int
) -> Iterator[tuple[Labels, Labels]]:
    """Stack planes of sample points to slices of voxels."""
    stack: list[tuple[Labels, Labels]] = []
    for pair in planes:
        stack.append(pair)
        if len(stack) == supersampling:
            made, drawn = (np.stack(part) for part in zip(*stack, strict=True))
            yield made, drawn
            stack = []


def _mesh_slabs(
    where: str, pair: list[meshes.Mesh], places_mm: tuple[Array, Array, Array]
) -> Iterator[tuple[Labels, Labels]]:
    """Yield planes of labels with and without the defect, from a body and its cavities."""
    num_cavity, num_outside = 0, 0
    for body, *cavities in zip(*(meshes.held(mesh, *places_mm) for mesh in pair), strict=True):
        num_cavity += int(cavities[0].sum())
        num_outside += int((cavities[0] & ~body).sum())
        planes = [
            np.where(body, np.where(hollow, np.uint8(FLUID), np.uint8(WALL)), np.uint8(AIR))
            for hollow in cavities
        ]
        yield planes[-1], planes[0]
    if num_cavity == 0:
        raise InputError(
            f"{where}: got a cavity that holds no sample point ({pair[1].path}), expected a hollow "
            "larger than phantom.voxel_mm"
        )
    if num_outside > MOST_OUTSIDE * num_cavity:
        raise InputError(
            f"{pair[1].path}: got a cavity with {num_outside / num_cavity:.0%} of its volume "
            f"outside the body {pair[0].path}, expected it inside (same unit and coordinates?)"
        )


def _label_slabs(
    made: label_volumes.LabelVolume,
    drawn: label_volumes.LabelVolume,
    places_mm: tuple[Array, Array, Array],
) -> Iterator[tuple[Labels, Labels]]:
    middle = drawn.box_mm.mean(axis=0)
    z_mm, y_mm, x_mm = (at + shift for at, shift in zip(places_mm, middle[::-1], strict=True))
    for z in z_mm:
        as_drawn = drawn.at(np.array([z]), y_mm, x_mm)[0]
        yield (as_drawn if made is drawn else made.at(np.array([z]), y_mm, x_mm)[0]), as_drawn


def check_room(where: str, voxels: Voxels, room: Room) -> None:
    """Raise `InputError` if a part is larger than the scanner's bore or the image."""
    is_there = np.argwhere(voxels.nominal_shares.any(axis=0))
    axes, size_mm = voxels.grid.axes_mm(), voxels.grid.voxel_mm[0]
    z_mm, y_mm, x_mm = (
        float(np.abs(axis[is_there[:, i]]).max()) + size_mm / 2 for i, axis in enumerate(axes)
    )
    # corners of the grid, as both engines have it
    low_mm = np.abs([axis[[0, -1]] for axis in axes[1:]]).max(axis=1) + size_mm / 2
    if (reach_mm := float(np.hypot(*low_mm))) >= room.bore_mm:
        raise InputError(
            f"{where}: got a part that reaches {reach_mm:.1f} mm from the axis, expected less than "
            f"the scanner's bore, {room.bore_mm:g} mm"
        )
    if max(x_mm, y_mm) > room.half_width_mm + size_mm:
        raise InputError(
            f"{where}: got a part that reaches {max(x_mm, y_mm):.1f} mm across the axis, expected "
            f"at most {room.half_width_mm:g} mm, half of reconstruct.num_pixels x pixel_mm"
        )
    if z_mm > room.half_length_mm + size_mm:
        raise InputError(
            f"{where}: got a part that reaches {z_mm:.1f} mm along the axis, expected at most "
            f"{room.half_length_mm:g} mm, half of reconstruct.num_slices x slice_mm"
        )


def truth(
    name: str, part: Mapping[str, Any], voxels: Voxels, activity: NDArray[np.float32], seed: int
) -> dict[str, Any]:
    """Return what is known of an own part, for ``truth.json``, as `maps.truth` does for a tube.

    The family of meshes and label volumes is the part's name. Further keys are `part`, the entry
    that it is made from, and `fillings`, what its labels stand for.
    """
    own = {"part": dict(part), "fillings": [one._asdict() for one in voxels.fillings]}
    made_of = ", ".join(f"{one.material} {one.g_cm3:g} g/cm3" for one in voxels.fillings)
    if "tube" in part:
        tube = spec.given_tube(part["tube"], f"{name}: tube")
        facts = maps.truth(name, tube, voxels, activity, seed)
        return facts | own | {"geometry": facts["geometry"] | {"made_of": made_of}}
    places = np.argwhere(voxels.nominal_shares.any(axis=0))
    size_mm = (np.ptp(places, axis=0) + 1) * voxels.grid.voxel_mm[0]
    defects = []
    if voxels.defect_box_mm is not None:
        box = np.array(voxels.defect_box_mm)
        defects.append({
            "class": part["defect"]["class"],
            "box_mm": voxels.defect_box_mm,
            "size_mm": float(np.ptp(box, axis=1).max()),  # longest edge
            "volume_mm3": voxels.defect_volume_mm3,
            "z_mm": float(box[2].mean()),
        })  # fmt: skip
    total_bq = float(activity.sum(dtype=np.float64) * voxels.grid.voxel_volume_mm3)
    return {
        "tube": name,
        "family": part["name"],
        "defect": defects[0]["class"] if defects else "none",
        "length_mm": float(size_mm[0]),
        "geometry": {
            "height_mm": float(size_mm[1]), "width_mm": float(size_mm[2]), "made_of": made_of,
        },
        "defects": defects,
        "fluid_volume_mm3": voxels.fluid_volume_mm3(),
        "activity_total_bq": total_bq,
        "grid": asdict(voxels.grid),
        "seed": seed,
        **own,
    }  # fmt: skip


def of_truth(facts: Mapping[str, Any], phantom: Mapping[str, Any]) -> Tube | Sampled:
    """Return the tube or the voxels of a ``truth.json``, from which slices are drawn."""
    if "drawn" in facts:
        return Tube(**facts["drawn"])
    voxels = draw(f"phantom.parts.{facts['tube']}", facts["part"], phantom)
    kinds = [AIR, *(FLUID if one.activity >= 0.5 else WALL for one in voxels.fillings)]
    made, drawn = (np.array(kinds, np.uint8)[one.labels()] for one in (voxels, voxels.nominal()))
    return Sampled(voxels.grid, made, drawn, facts["length_mm"], facts["defect"])
