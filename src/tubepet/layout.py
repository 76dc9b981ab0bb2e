"""Places, directions and detection efficiencies of a scanner's crystals.

A scanner is one ring of equal crystals, or one or more families of modules. A module is a flat
block of rings x columns of crystals; its front face looks at the axis, `inner_radius_mm` away. A
family has `around` equal modules, evenly around the axis, from `first_angle_deg` on. They are
repeated at each of `z_mm` along the axis. With `around` 2, two heads face each other.

Crystals of modules are numbered by family, then by place along the axis, module around it, ring
(+z) and column (counter-clockwise seen from +z). Those of a ring: `tubepet.types`.
"""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubepet.errors import InputError, reading
from tubepet.types import Scanner

Array = NDArray[np.float64]

TABLES = ("modules", "dead_crystals", "efficiencies")  # fields of `Scanner` that are no numbers


@dataclass(frozen=True)
class Family:
    """Equal modules; the fields are the keys of an entry of `scanner.modules`."""

    around: int
    first_angle_deg: float
    inner_radius_mm: float
    z_mm: tuple[float, ...]
    columns: int
    rings: int
    crystal_width_mm: float
    crystal_height_mm: float
    crystal_depth_mm: float
    pitch_width_mm: float
    pitch_height_mm: float

    @property
    def num_per_module(self) -> int:
        """Crystals of one module."""
        return self.rings * self.columns

    @property
    def num_crystals(self) -> int:
        """Crystals of all modules."""
        return self.around * len(self.z_mm) * self.num_per_module

    @property
    def width_mm(self) -> float:
        """Width of a module, from face to face."""
        return (self.columns - 1) * self.pitch_width_mm + self.crystal_width_mm

    @property
    def height_mm(self) -> float:
        """Length of a module along the axis, from face to face."""
        return (self.rings - 1) * self.pitch_height_mm + self.crystal_height_mm

    @property
    def turns(self) -> Array:
        """Azimuth of every module around, radians."""
        return np.radians(self.first_angle_deg) + 2 * np.pi * np.arange(self.around) / self.around


@dataclass(frozen=True)
class Table:
    """All crystals; rows are their ids.

    Attributes
    ----------
    centres_mm : float64 array, shape (n, 3)
        Centres; GATE reports singles there (its readout positions).
    outwards : float64 array, shape (n, 3)
        Unit vectors along the depth, away from the axis and across it.
    sizes_mm : float64 array, shape (n, 3)
        Depth, width (across the axis), height (along it).
    module : int64 array, shape (n,)
        The module of each; in a ring its column.
    kind : int64 array, shape (n,)
        Equal for crystals of one family that lie alike in their module: at no edge, at an edge
        across the axis, along it, or at both.
    """

    centres_mm: Array
    outwards: Array
    sizes_mm: Array
    module: NDArray[np.int64]
    kind: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.module)

    def points_mm(self, depths_mm: Array) -> Array:
        """Return a point of every crystal, at a depth behind its front face, shape (n, 3)."""
        return self.centres_mm + (depths_mm - self.sizes_mm[:, 0] / 2)[:, None] * self.outwards


def families(scanner: Scanner) -> list[Family]:
    """Return the families of modules; none for a ring."""
    return [Family(**{**one, "z_mm": tuple(one["z_mm"])}) for one in scanner.modules]


def bore_mm(scanner: Scanner) -> float:
    """Radius of the largest cylinder around the axis that is free of crystals."""
    return float(min((one.inner_radius_mm for one in families(scanner)),
                     default=scanner.inner_radius_mm))  # fmt: skip


def reach_mm(scanner: Scanner) -> float:
    """Distance of the outermost edge from the axis."""
    sizes = [
        (one.inner_radius_mm + one.crystal_depth_mm, one.width_mm) for one in families(scanner)
    ] or [(scanner.inner_radius_mm + scanner.crystal_depth_mm, scanner.crystal_width_mm)]
    return max(math.hypot(outer_mm, width_mm / 2) for outer_mm, width_mm in sizes)


def half_length_mm(scanner: Scanner) -> float:
    """Largest distance of a crystal's end from the middle plane."""
    ends_mm = [abs(z) + one.height_mm / 2 for one in families(scanner) for z in one.z_mm]
    gap_mm = scanner.axial_pitch_mm - scanner.crystal_height_mm
    return max(ends_mm, default=(scanner.num_rings * scanner.axial_pitch_mm - gap_mm) / 2)


def table(scanner: Scanner) -> Table:
    """Return all crystals of a scanner."""
    if not scanner.modules:
        return _ring(scanner)
    parts, num_modules = [], 0
    for i_family, one in enumerate(families(scanner)):
        shape = len(one.z_mm), one.around, one.rings, one.columns
        i_z, i_turn, ring, column = (index.ravel() for index in np.indices(shape))
        turn = one.turns[i_turn]
        cosine, sine = np.cos(turn), np.sin(turn)
        depth_mm = one.inner_radius_mm + one.crystal_depth_mm / 2
        side_mm = (column - (one.columns - 1) / 2) * one.pitch_width_mm
        z_mm = np.array(one.z_mm)[i_z] + (ring - (one.rings - 1) / 2) * one.pitch_height_mm
        centres_mm = np.stack(
            [depth_mm * cosine - side_mm * sine, depth_mm * sine + side_mm * cosine, z_mm], axis=1
        )
        outwards = np.stack([cosine, sine, np.zeros(len(turn))], axis=1)
        size_mm = one.crystal_depth_mm, one.crystal_width_mm, one.crystal_height_mm
        sizes_mm = np.tile(np.array(size_mm, float), (len(turn), 1))
        module = num_modules + i_z * one.around + i_turn
        kind = 4 * i_family + _edge(column, one.columns) + 2 * _edge(ring, one.rings)
        parts.append((centres_mm, outwards, sizes_mm, module, kind))
        num_modules += one.around * len(one.z_mm)
    return Table(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _ring(scanner: Scanner) -> Table:
    ring, column = np.divmod(np.arange(scanner.num_crystals), scanner.num_columns)
    turn = 2 * np.pi * column / scanner.num_columns
    radius_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    z_mm = (ring - (scanner.num_rings - 1) / 2) * scanner.axial_pitch_mm
    outwards = np.stack([np.cos(turn), np.sin(turn), np.zeros(len(turn))], axis=1)
    centres_mm = np.stack([radius_mm * np.cos(turn), radius_mm * np.sin(turn), z_mm], axis=1)
    size_mm = scanner.crystal_depth_mm, scanner.crystal_width_mm, scanner.crystal_height_mm
    sizes_mm = np.tile(np.array(size_mm, float), (len(turn), 1))
    return Table(centres_mm, outwards, sizes_mm, column, 2 * _edge(ring, scanner.num_rings))


def _edge(index: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return 1 where an index is the first or the last of a number, else 0."""
    return ((index == 0) | (index == number - 1)).astype(np.int64)


def efficiencies(scanner: Scanner) -> Array:
    """Return the probability that a single of each crystal is kept, shape (num_crystals,).

    Raises
    ------
    InputError
        If the file of `scanner.efficiencies` or `scanner.dead_crystals` is not of this scanner.
    """
    kept: Array = np.ones(scanner.num_crystals)
    if scanner.efficiencies:
        _read_efficiencies(Path(scanner.efficiencies), kept)
    for crystal in scanner.dead_crystals:
        if not 0 <= crystal < len(kept):
            raise InputError(
                f"scanner.dead_crystals: got {crystal}, expected ids from 0 to {len(kept) - 1}"
            )
        kept[crystal] = 0.0
    if not kept.any():
        raise InputError("scanner.dead_crystals: got all crystals, expected some that are alive")
    return kept


def _read_efficiencies(path: Path, kept: Array) -> None:
    if not path.is_file():
        raise InputError(
            f"scanner.efficiencies: got {path}, expected a CSV file with the columns crystal and "
            "efficiency, or ''"
        )
    with reading(path, "a CSV file"), path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    names = set(rows[0]) if rows else set()
    if not {"crystal", "efficiency"} <= names:
        raise InputError(f"{path}: expected rows with the columns crystal and efficiency")
    if any(None in row for row in rows):
        raise InputError(f"{path}: got values without a name, expected a name for every column")
    seen = set()
    for row in rows:
        try:
            crystal, efficiency = int(row["crystal"]), float(row["efficiency"])
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}: got {row}, expected a crystal's id and a number") from error
        if not 0 <= crystal < len(kept) or crystal in seen:
            raise InputError(
                f"{path}: got crystal {crystal}, expected each id from 0 to {len(kept) - 1} at "
                "most once"
            )
        if not 0 < efficiency <= 1:
            raise InputError(
                f"{path}: got an efficiency of {efficiency} for crystal {crystal}, expected more "
                "than 0 and at most 1 (dead ones: scanner.dead_crystals)"
            )
        seen.add(crystal)
        kept[crystal] = efficiency


def problems(scanner: Scanner) -> Iterator[str]:
    """Sentences on crystals without room or partner, and on wrong tables of efficiencies."""
    found = families(scanner)
    for i, one in enumerate(found):
        for size, pitch in (
            ("crystal_width_mm", "pitch_width_mm"),
            ("crystal_height_mm", "pitch_height_mm"),
        ):
            if getattr(one, size) > getattr(one, pitch):
                yield (
                    f"scanner.modules[{i}].{size}: got {getattr(one, size):g} mm, expected at most "
                    f"{pitch} {getattr(one, pitch):g} mm"
                )
        heights = sorted(one.z_mm)
        step_mm = min((b - a for a, b in pairwise(heights)), default=math.inf)
        if step_mm < one.height_mm - 1e-9:
            yield (
                f"scanner.modules[{i}].z_mm: got modules {step_mm:g} mm apart, expected at least "
                f"their length of {one.height_mm:g} mm (rings, pitch_height_mm)"
            )
        if one.around > 1 and _is_overlapping((one, 0), (one, 1)):
            room_mm = 2 * one.inner_radius_mm * math.tan(math.pi / one.around)
            yield (
                f"scanner.modules[{i}]: modules of {one.width_mm:g} mm width overlap, expected at "
                f"most {room_mm:.3f} mm, the room of each of {one.around} at inner_radius_mm "
                f"{one.inner_radius_mm:g} mm"
            )
    for (i, one), (k, other) in combinations(enumerate(found), 2):
        is_near = any(
            abs(a - b) < (one.height_mm + other.height_mm) / 2 - 1e-9
            for a in one.z_mm
            for b in other.z_mm
        )
        if is_near and any(
            _is_overlapping((one, a), (other, b))
            for a in range(one.around)
            for b in range(other.around)
        ):
            yield (
                f"scanner.modules[{k}]: overlaps with scanner.modules[{i}], expected another "
                "inner_radius_mm, z_mm or first_angle_deg"
            )
    largest_mm = _largest_distance_mm(scanner)
    if scanner.min_transaxial_distance_mm > largest_mm + 1e-9:
        yield (
            f"scanner.min_transaxial_distance_mm: got {scanner.min_transaxial_distance_mm:g} mm, "
            f"expected at most {largest_mm:.1f} mm, the largest distance of two crystals"
        )
    try:
        efficiencies(scanner)
    except InputError as error:
        yield str(error)


def _largest_distance_mm(scanner: Scanner) -> float:
    """Largest distance of two crystals across the axis; of modules, outer columns count."""
    turns = 2 * np.pi * np.arange(scanner.num_columns) / scanner.num_columns
    rows = [(turns, scanner.inner_radius_mm + scanner.crystal_depth_mm / 2, 0.0)]
    if scanner.modules:
        rows = [
            (one.turns, one.inner_radius_mm + one.crystal_depth_mm / 2, side_mm)
            for one in families(scanner)
            for side_mm in np.array([-0.5, 0.5]) * (one.columns - 1) * one.pitch_width_mm
        ]
    ends = np.concatenate([
        (depth_mm + 1j * side_mm) * np.exp(1j * turns) for turns, depth_mm, side_mm in rows
    ])  # fmt: skip
    return float(max(np.abs(ends - end).max() for end in ends))


def corners_mm(one: Family, i_turn: int) -> Array:
    """Corners (x, y) of a module seen along the axis, in order, shape (4, 2)."""
    turn = one.turns[i_turn]
    along, across = (
        np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    )  # fmt: skip
    near_mm, far_mm = one.inner_radius_mm, one.inner_radius_mm + one.crystal_depth_mm
    half_mm = one.width_mm / 2
    places = ((near_mm, -half_mm), (far_mm, -half_mm), (far_mm, half_mm), (near_mm, half_mm))
    return np.array([depth * along + side * across for depth, side in places])


def _is_overlapping(first: tuple[Family, int], second: tuple[Family, int]) -> bool:
    """Whether two modules overlap, seen along the axis (separating axis theorem)."""
    shapes = corners_mm(*first), corners_mm(*second)
    for shape in shapes:
        for way in shape[1] - shape[0], shape[2] - shape[1]:
            (low1, high1), (low2, high2) = (
                ((corners @ way).min(), (corners @ way).max()) for corners in shapes
            )
            slack = 1e-9 * float(way @ way)
            if high1 <= low2 + slack or high2 <= low1 + slack:
                return False
    return True
