"""Read CASToR's scanners: tables of crystals (.lut, beside it a .hscan) and geometries (.geom).

A .lut holds six float32 per crystal: x, y, z of its centre (mm) and the direction from the centre
of the scanner to it. Some programs write the opposite direction; here faces look at the middle of
all crystals. A .geom is a text of numbers, from which the same table is computed. Source of its
numbers, order of crystals and defaults: CASToR 3.1, class iScannerPET. Coordinates are not changed.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubepet.bounds import MAX_CRYSTALS, MAX_MM, check_mm, check_num_crystals
from tubepet.errors import InputError, check_regular
from tubepet.formats import castor
from tubepet.logs import log
from tubepet.reconstruct.scanner.crystals import Crystals

BYTES_PER_CRYSTAL = 24
SUFFIXES = (".lut", ".glut", ".hscan", ".ghscan", ".geom")
HEADERS = {".lut": ".hscan", ".glut": ".ghscan"}
MAX_LAYERS, MAX_COUNT = 100, 100_000
FACE_MM2 = 1.0  # of a crystal of unknown size
RING_COUNTS = (
    "number of rsectors", "number of rsectors axial", "number of modules transaxial",
    "number of modules axial", "number of submodules transaxial", "number of submodules axial",
    "number of crystals transaxial", "number of crystals axial",
)  # fmt: skip
COUNTER = ("ccw", "counter-clockwise", "counterclockwise")
TRANS = ("crystals size trans", "crystals size transaxial")  # CASToR reads both


def is_scanner(path: Path) -> bool:
    """Whether a file has the suffix of a CASToR scanner."""
    return path.suffix.lower() in SUFFIXES


def read_scanner(path: str | Path) -> Crystals:
    """Read a .lut, .hscan or .geom as crystals of efficiency 1.

    Raises
    ------
    InputError
        If the file is damaged, declares the impossible, or lacks the other file that it needs.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".geom":
        text = _text(path)
        return _finished(text, *_layers(text))
    if suffix in HEADERS:
        table, header = path, path.with_suffix(HEADERS[suffix])
    else:
        table, header = path.with_suffix(".lut" if suffix == ".hscan" else ".glut"), path
    if not table.is_file():
        raise InputError(f"{path}: expected the table of crystals {table.name} beside it")
    points, directions = read_lut(table)
    if header.is_file():
        text = _text(header)
        return _finished(text, points, directions, _numbers_in_layers(text, len(points)))
    log.warning(
        "%s: there is no %s beside it: faces of 1 mm2 are taken, so the scale of images is any",
        table, header.name,
    )  # fmt: skip
    areas = np.full(len(points), FACE_MM2)
    return Crystals(points, -_outwards(table, points, directions), areas, np.ones(len(points)))


def read_lut(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read a .lut: centres (n, 3) in mm, and directions (n, 3) as in the file."""
    check_regular(path)
    size = Path(path).stat().st_size
    if size == 0 or size % BYTES_PER_CRYSTAL or size > MAX_CRYSTALS * BYTES_PER_CRYSTAL:
        raise InputError(
            f"{path}: got {size} bytes, expected {BYTES_PER_CRYSTAL} for each crystal, of which "
            f"there are at most {MAX_CRYSTALS}"
        )
    values = np.fromfile(path, "<f4").reshape(-1, 6).astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: got NaN or infinite values")
    check_mm(path, "crystals", values)
    return values[:, :3].copy(), values[:, 3:].copy()


@dataclass(frozen=True)
class _Text:
    """The keys of a .hscan or .geom; all but a few have one number per layer."""

    path: Path
    fields: dict[str, str]

    def numbers(self, key: str, num: int, default: float | None, most: float) -> list[float]:
        """Return the numbers of a key, of size `most` or less; one stands for all layers."""
        written = self.fields.get(key)
        if written is None:
            if default is None:
                raise InputError(f"{self.path}: expected the key {key} of a CASToR scanner")
            return [default] * num
        try:
            found = [float(part) for part in written.split(",")]
        except ValueError:
            found = [math.nan]
        if len(found) not in (1, num) or not all(abs(value) <= most for value in found):
            raise InputError(
                f"{self.path}: {key}: got {written!r:.60}, expected {num} numbers, each of size "
                f"{most:g} or less"
            )
        return found * (num // len(found))

    def count(
        self, key: str, num: int, default: float | None, most: int = MAX_COUNT, least: int = 1
    ) -> list[int]:
        """Return the whole numbers of a key."""
        found = self.numbers(key, num, default, most)
        if any(value != int(value) or value < least for value in found):
            raise InputError(
                f"{self.path}: {key}: got {self.fields[key]!r:.60}, expected whole numbers of at "
                f"least {least}"
            )
        return [int(value) for value in found]

    def sizes_mm(self, keys: tuple[str, ...], num: int, default: float | None) -> list[float]:
        """Return the sizes of the first of several keys that is there, >= 0."""
        key = next((key for key in keys if key in self.fields), keys[0])
        found = self.numbers(key, num, default, MAX_MM)
        if any(value < 0 for value in found):
            raise InputError(
                f"{self.path}: {key}: got {self.fields[key]!r:.60}, expected mm, not below 0"
            )
        return found

    @property
    def num_layers(self) -> int:
        return self.count("number of layers", 1, 1, MAX_LAYERS)[0]


def _text(path: Path) -> _Text:
    return _Text(path, {key.lower(): value for key, value in castor.fields(path).items()})


def _finished(
    text: _Text,
    points: NDArray[np.float64],
    directions: NDArray[np.float64],
    in_layers: list[int],
) -> Crystals:
    """Make crystals: faces, depth of interaction, least distance of a pair."""
    path, num = text.path, text.num_layers
    trans, axial = text.sizes_mm(TRANS, num, 0), text.sizes_mm(("crystals size axial",), num, 0)
    faces_mm2 = [a * b for a, b in zip(trans, axial, strict=True)]
    if not all(faces_mm2):
        log.warning("%s: no size of faces: 1 mm2 is taken, so the scale of images is any", path)
        faces_mm2 = [FACE_MM2] * num
    depth_mm = text.sizes_mm(("crystals size depth",), num, 0)
    inside_mm = text.numbers("mean depth of interaction", num, -1, MAX_MM)
    # points are centres; a negative depth of interaction means the centre in CASToR
    deeper = [i - d / 2 if i >= 0 else 0.0 for i, d in zip(inside_mm, depth_mm, strict=True)]
    outwards = _outwards(path, points, directions)
    points = points + outwards * np.repeat(deeper, in_layers)[:, None]
    (angle_deg,) = text.numbers("min angle difference", 1, 0, 180)
    across = np.hypot(outwards[:, 0], outwards[:, 1])
    readouts = outwards[:, :2] / np.where(across > 0, across, 1)[:, None]
    return Crystals(
        points, -outwards, np.repeat(faces_mm2, in_layers), np.ones(len(points)),
        # unit vectors an angle apart have this distance
        readouts_mm=readouts if angle_deg > 0 else np.empty((0, 2)),
        least_distance_mm=2 * math.sin(math.radians(max(angle_deg, 0)) / 2),
    )  # fmt: skip


def _outwards(
    path: Path, points: NDArray[np.float64], directions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return unit directions, turned away from the middle of all crystals."""
    length = np.linalg.norm(directions, axis=1)
    if not (length > 0).all():
        raise InputError(f"{path}: got a direction of length 0, expected where each crystal looks")
    units = directions / length[:, None]
    away = (units * (points - points.mean(axis=0))).sum(axis=1)
    return np.where(away < 0, -1.0, 1.0)[:, None] * units


def _numbers_in_layers(text: _Text, num_crystals: int) -> list[int]:
    """Return the number of crystals of every layer of a table, and check it."""
    num = text.num_layers
    names = ("number of crystals in layer", "number of crystals in layer(s)")
    name = next((name for name in names if name in text.fields), names[0])
    default = num_crystals if num == 1 else None
    found = text.count(name, num, default, MAX_CRYSTALS)
    (declared,) = text.count("number of elements", 1, num_crystals, MAX_CRYSTALS)
    if sum(found) != num_crystals or declared != num_crystals:
        raise InputError(
            f"{text.path}: got {sum(found)} crystals in layers and {declared} elements, expected "
            f"the {num_crystals} of the table beside it"
        )
    return found


def _layers(text: _Text) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    """Compute the table of a .geom, layer by layer: centres, directions outwards, crystals."""
    num = text.num_layers
    default = {RING_COUNTS[0]: None, RING_COUNTS[6]: None, RING_COUNTS[7]: None}
    counts = np.array([text.count(key, num, default.get(key, 1)) for key in RING_COUNTS]).T
    in_layers = [math.prod(int(n) for n in row) for row in counts]
    check_num_crystals(text.path, sum(in_layers))
    (declared,) = text.count("number of elements", 1, None, MAX_CRYSTALS)
    if declared != sum(in_layers):
        raise InputError(
            f"{text.path}: number of elements: got {declared}, expected the {sum(in_layers)} "
            "that the other numbers make"
        )
    parts = [_layer(text, i, num, counts[i].tolist()) for i in range(num)]
    points, outwards = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    check_mm(text.path, "crystals", points)
    return points, outwards, in_layers


def _layer(
    text: _Text, i: int, num: int, counts: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres and directions of one layer: rings along z, in each the crystals around the axis."""

    def mm(key: str, default: float | None = 0) -> float:
        return text.numbers(key, num, default, MAX_MM)[i]

    around, rsectors, mod_t, mod_z, sub_t, sub_z, cry_t, cry_z = counts
    width, height, depth = (
        text.sizes_mm(keys, num, None)[i]
        for keys in (TRANS, ("crystals size axial",), ("crystals size depth",))
    )
    across_mm = _row(
        (cry_t, mm("crystal gap transaxial")), (sub_t, mm("submodule gap transaxial")),
        (mod_t, mm("module gap transaxial")), size_mm=width,
    )  # fmt: skip
    z_mm = _row(
        (cry_z, mm("crystal gap axial")), (sub_z, mm("submodule gap axial")),
        (mod_z, mm("module gap axial")), (rsectors, mm("rsector gap axial")), size_mm=height,
    )  # fmt: skip
    span_deg = text.numbers("rsectors angular span", num, 360, 360)[i]
    first_deg = text.numbers("rsectors first angle", num, 0, 3600)[i]
    # from +y clockwise, towards +x; the other way for CCW
    turn = -1.0 if text.fields.get("rotation direction", "").strip().lower() in COUNTER else 1.0
    angle = np.radians(first_deg + np.arange(around) * span_deg / around)
    outwards = np.stack([turn * np.sin(angle), np.cos(angle)], axis=1)
    along = np.stack([np.cos(angle), -turn * np.sin(angle)], axis=1)
    radius_mm = mm("scanner radius", None) + depth / 2
    flat = outwards[:, None] * radius_mm + along[:, None] * (turn * across_mm)[None, :, None]
    (num_shifts,) = text.count("rsectors nbzshift", 1, 0, least=0)
    shifts_mm = text.numbers("rsectors zshift", num_shifts, None, MAX_MM) if num_shifts else [0.0]
    shift_mm = np.array(shifts_mm)[np.arange(around) % len(shifts_mm)]
    shape = (len(z_mm), around, len(across_mm))
    z_mm = np.broadcast_to((z_mm[:, None] + shift_mm)[:, :, None], shape)
    points = [np.broadcast_to(flat[None, :, :, axis], shape) for axis in (0, 1)]
    ways = [np.broadcast_to(outwards[None, :, None, axis], shape) for axis in (0, 1)]
    centres = np.stack([*points, z_mm], axis=-1).reshape(-1, 3)
    return centres, np.stack([*ways, np.zeros(shape)], axis=-1).reshape(-1, 3)


def _row(*parts: tuple[int, float], size_mm: float) -> NDArray[np.float64]:
    """Return middles of crystals in nested rows about 0, from number and gap, innermost first."""
    middles: NDArray[np.float64] = np.zeros(1)
    for num, gap_mm in parts:
        pitch_mm = size_mm + gap_mm
        places = (np.arange(num) - (num - 1) / 2) * pitch_mm
        middles = (places[:, None] + middles).ravel()
        size_mm = num * size_mm + (num - 1) * gap_mm
    return middles
