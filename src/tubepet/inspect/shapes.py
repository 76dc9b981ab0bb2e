"""Candidate defects all over a part, as Gaussian blobs: content, middle and second moments.

A set of candidates is a bank. It needs only the drawing of the part: voids lie in the fluid, and
all other kinds are cut into the wall from the fluid's surface, as `phantom.geometry` cuts them.
After the blur of a PET scanner a defect and the Gaussian of the same moments differ little
(docs/inspection-physics.md).

Defects that change no activity (a wall thinned from outside) are not looked for.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from tubepet.inspect.part import Part
from tubepet.phantom.geometry import (
    CRACK_LENGTH_RATIO,
    GROOVE_LENGTH_RATIO,
    MAX_DEPTH,
    THINNING_DEPTH,
)
from tubepet.types import Volume

Array = NDArray[np.float64]

# Kind of candidate for each class of defect of `phantom.spec`. A bubble and an inclusion both leave
# a hole in the activity, and their attenuation tells them apart only at many counts.
KIND_OF_CLASS = {
    "bubble": "void", "inclusion": "void", "pit": "pit", "groove": "groove", "crack": "crack",
    "thinning": "thinning",
}  # fmt: skip
# Distance of places in the fluid and on its surface, and that of a large defect over its size. The
# nearest candidate keeps 0.97 of a pit's z and 0.95 of a bubble's.
SPACING_MM, SPACING_SHARE = 1.5, 0.25
FINE_MM, RING_MM = 0.5, 2.0  # of points on a surface, and of the pieces of a ring
NUM_ROUNDS = 8  # of spreading
SIZE_RATIO = 2.0  # of neighbouring sizes, at most
SMOOTHING_VOXELS = 0.7  # of volume fractions, before a surface is put through them
WALL_STEP_MM, MAX_WALL_MM, LEAST_WALL_MM = 0.25, 10.0, 0.5
REACH_STEP_MM, MAX_REACH_MM = 0.5, 25.0
NUM_DEPTHS = 24
# Of long cuts: length over width.
LENGTH_RATIOS = {"crack": CRACK_LENGTH_RATIO, "groove": GROOVE_LENGTH_RATIO}
AXIS = np.array([0.0, 0.0, 1.0])


class Surface(NamedTuple):
    """Points on the surface of the fluid where there is a wall.

    Attributes
    ----------
    points_mm, outward, along : float64 array, shape (n, 3)
        x, y, z; unit vectors into the wall, and along the part.
    wall_mm : float64 array, shape (n,)
    reach_mm : float64 array, shape (n, 2)
        How far the part goes on along it: backwards, forwards.
    """

    points_mm: Array
    outward: Array
    along: Array
    wall_mm: Array
    reach_mm: Array

    def only(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> "Surface":
        """Return some of the points."""
        return Surface(*(values[which] for values in self))

    def spread(self, spacing_mm: float) -> "Surface":
        """Return points that each stand for as much of the surface around them as the others.

        By Lloyd's method (1982, doi:10.1109/TIT.1982.1056489), from the first point of each cell of
        a lattice.
        """
        points_mm = self.points_mm
        if len(points_mm) == 0:
            return self
        middles_mm = points_mm[_first_of_cells(points_mm, spacing_mm)]
        for _ in range(NUM_ROUNDS):
            owner = cKDTree(middles_mm).query(points_mm)[1]
            num = np.bincount(owner, minlength=len(middles_mm))
            sums = [np.bincount(owner, one, minlength=len(num)) for one in points_mm.T]
            middles_mm = (np.stack(sums) / np.maximum(num, 1)).T[num > 0]
        return self.only(np.unique(cKDTree(points_mm).query(middles_mm)[1]))


@dataclass(frozen=True)
class Bank:
    """Candidate defects.

    Attributes
    ----------
    table : DataFrame
        kind, size_mm, x_mm, y_mm, z_mm, volume_mm3 (of fluid lost or won), one row per candidate.
    blobs : float64 array, shape (b, 10)
        As `kernels.blob_sums` takes them; contents are negative where activity is lost.
    owner : int64 array, shape (b,)
        Row of the table of each blob, rising.
    """

    table: pd.DataFrame
    blobs: Array
    owner: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.table)

    def part(self, is_kept: NDArray[np.bool_]) -> "Bank":
        """Return some of the candidates."""
        number = np.cumsum(is_kept) - 1
        has_blob = is_kept[self.owner]
        table = self.table[is_kept].reset_index(drop=True)
        return Bank(table, self.blobs[has_blob], number[self.owner[has_blob]])

    def only(self, row: int) -> "Bank":
        """Return one of the candidates."""
        return self.part(np.arange(len(self)) == row)

    def moved(self, move: Callable[[Array], Array]) -> "Bank":
        """Move the candidates with the part; it turns too little to turn their shapes too."""
        blobs, table = self.blobs.copy(), self.table.copy()
        blobs[:, 1:4] = move(blobs[:, 1:4])
        table[["x_mm", "y_mm", "z_mm"]] = move(table[["x_mm", "y_mm", "z_mm"]].to_numpy())
        return Bank(table, blobs, self.owner)


def surface(part: Part) -> Surface:
    """Return points on the surface between fluid and wall, about `FINE_MM` apart."""
    grid, fluid = part.fluid.grid, np.pad(part.fluid.array.astype(np.float64), 2)
    smooth = gaussian_filter(fluid, SMOOTHING_VOXELS)
    if smooth.max() <= 0.5:
        none = np.empty((0, 3))
        return Surface(none, none, none, none[:, 0], none[:, :2])
    corners = marching_cubes(smooth, 0.5)[0]  # in voxels of the padded array, z, y, x
    voxel_mm = np.array(grid.voxel_mm)
    corners = corners[_first_of_cells(corners * voxel_mm, FINE_MM)]
    slopes = [
        map_coordinates(part_, corners.T, order=1) for part_ in np.gradient(smooth, *voxel_mm)
    ]
    outward = -np.stack(slopes, axis=1)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    points_mm = (corners - 2) * voxel_mm + grid.origin_mm
    # the first steps may still lie half in the fluid
    wall_mm = _run_mm(part.wall, points_mm, outward, WALL_STEP_MM, MAX_WALL_MM, 2 * WALL_STEP_MM)
    is_wall = wall_mm > LEAST_WALL_MM
    points_mm, outward, wall_mm = points_mm[is_wall], outward[is_wall, ::-1], wall_mm[is_wall]
    along = _along(outward)
    solid = Volume(part.wall.array.astype(np.float32) + part.fluid.array, grid)
    reach_mm = [
        _run_mm(solid, points_mm, way[:, ::-1], REACH_STEP_MM, MAX_REACH_MM, 0.0)
        for way in (-along, along)
    ]
    return Surface(points_mm[:, ::-1], outward, along, wall_mm, np.stack(reach_mm, axis=1))


def _first_of_cells(points_mm: Array, cell_mm: float) -> NDArray[np.int64]:
    """Return the first point in each cell of a lattice."""
    kept = np.unique(np.floor(points_mm / cell_mm), axis=0, return_index=True)[1]
    return np.asarray(np.sort(kept), np.int64)


def _along(outward: Array) -> Array:
    """Return unit vectors along the axis, perpendicular to unit vectors (x, y, z)."""
    along = AXIS - outward * (outward @ AXIS)[:, None]
    # where the wall is perpendicular to the axis, any direction does
    is_across = np.linalg.norm(along, axis=1) < 0.1
    along[is_across] = np.cross(outward[is_across], [1.0, 0.3, 0.0])
    return np.asarray(along / np.linalg.norm(along, axis=1, keepdims=True))


def _run_mm(
    share: Volume, points_mm: Array, way: Array, step_mm: float, most_mm: float, sure_mm: float
) -> Array:
    """Length from points (z, y, x) along unit vectors, as long as the share is above a half.

    The first `sure_mm` count in any case.
    """
    steps_mm = np.arange(step_mm / 2, most_mm, step_mm)
    places = points_mm[:, None] + steps_mm[:, None] * way[:, None]
    at = np.moveaxis((places - share.grid.origin_mm) / share.grid.voxel_mm, -1, 0)
    is_in = (map_coordinates(share.array, at, order=1) > 0.5) | (steps_mm < sure_mm)
    return np.asarray(np.cumprod(is_in, axis=1).sum(axis=1) * step_mm)


def sizes_mm(low_mm: float, high_mm: float) -> list[float]:
    """Return sizes from low to high, neighbours at most `SIZE_RATIO` apart."""
    num = 1 + math.ceil(math.log(high_mm / low_mm) / math.log(SIZE_RATIO) - 1e-9)
    return [float(size) for size in np.geomspace(low_mm, high_mm, num)]


def by_kind(ranges_mm: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return the smallest and the largest size of each kind, from those of classes of defects."""
    found: dict[str, list[float]] = {}
    for name, (low_mm, high_mm) in ranges_mm.items():
        kind = KIND_OF_CLASS[name]
        low, high = found.get(kind, [low_mm, high_mm])
        found[kind] = [min(low, low_mm), max(high, high_mm)]
    return found


def bank(part: Part, ranges_mm: Mapping[str, Sequence[float]]) -> Bank:
    """Put all kinds and sizes of defects everywhere in a part.

    Parameters
    ----------
    ranges_mm : mapping
        Smallest and largest size of each class of defect (config key `phantom.defect_size_mm`).
    """
    on_wall = surface(part)
    spread = cache(on_wall.spread)  # many sizes have one spacing
    pieces = []
    for kind, (low_mm, high_mm) in by_kind(ranges_mm).items():
        for size_mm in sizes_mm(low_mm, high_mm):
            if kind == "void":
                pieces.append(voids(places_of_voids(part, size_mm), size_mm))
                continue
            pieces.append(cut(spread(_spacing_mm(size_mm)), kind, size_mm))
            if kind == "groove":
                pieces.append(ring_grooves(part, spread(RING_MM), size_mm))
    return joined(pieces)


def joined(pieces: Sequence[Bank]) -> Bank:
    """Put banks behind each other."""
    offsets = np.cumsum([0, *(len(piece) for piece in pieces)])
    owner = [piece.owner + start for piece, start in zip(pieces, offsets, strict=False)]
    table = pd.concat([piece.table for piece in pieces], ignore_index=True)
    return Bank(table, np.concatenate([p.blobs for p in pieces]), np.concatenate(owner))


def _spacing_mm(size_mm: float) -> float:
    return max(SPACING_MM, SPACING_SHARE * size_mm)


def places_of_voids(part: Part, size_mm: float) -> Array:
    """Return places in the fluid, (n, 3) of x, y, z, where a ball of this diameter fits."""
    grid = part.fluid.grid
    is_fluid = np.pad(part.fluid.array > 0.5, 1)
    depth_mm = distance_transform_edt(is_fluid, sampling=grid.voxel_mm)[1:-1, 1:-1, 1:-1]
    axes = []
    for axis, voxel_mm in zip(grid.axes_mm(), grid.voxel_mm, strict=True):
        step = max(round(_spacing_mm(size_mm) / voxel_mm), 1)
        axes.append(np.arange(len(axis) % step // 2, len(axis), step))
    chosen = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    # the distance ends half a voxel short of the surface
    fits = depth_mm[tuple(chosen.T)] >= size_mm / 2 - max(grid.voxel_mm)
    places = chosen[fits] * np.array(grid.voxel_mm) + grid.origin_mm
    return np.asarray(places[:, ::-1], np.float64)


def voids(places_mm: Array, size_mm: float) -> Bank:
    """Return balls without activity around places (n, 3)."""
    volume_mm3 = math.pi / 6 * size_mm**3
    moments = np.tile(np.eye(3) * size_mm**2 / 20, (len(places_mm), 1, 1))
    contents = np.full(len(places_mm), -volume_mm3)
    return _bank("void", size_mm, contents, places_mm, moments)


def cut(at: Surface, kind: str, size_mm: float) -> Bank:
    """Return what is cut into the wall at every point of a surface, filled with fluid.

    Long cuts end where the part does.
    """
    around = np.cross(at.along, at.outward)
    volume, depth, *squares = _moments(kind, size_mm, at.wall_mm)
    places_mm, moved_mm = at.points_mm + depth[:, None] * at.outward, np.zeros(len(volume))
    if kind in LENGTH_RATIOS:
        half_mm = LENGTH_RATIOS[kind] * size_mm / 2
        back_mm, forth_mm = np.minimum(at.reach_mm, half_mm).T
        left = (back_mm + forth_mm) / (2 * half_mm)
        volume, squares[2], moved_mm = left * volume, left**2 * squares[2], (forth_mm - back_mm) / 2
    moments = np.zeros((len(volume), 3, 3))
    for square, axis in zip(squares, (at.outward, around, at.along), strict=True):
        moments += square[:, None, None] * axis[:, :, None] * axis[:, None, :]
    bank = _bank(kind, size_mm, volume, places_mm, moments)
    bank.blobs[:, 1:4] += moved_mm[:, None] * at.along
    return bank


def ring_grooves(part: Part, at: Surface, size_mm: float) -> Bank:
    """Return grooves all around the axis, every `SPACING_MM` along it."""
    z_mm = at.points_mm[:, 2]
    pieces = [cut(at.only(np.zeros(len(z_mm), bool)), "ring_groove", size_mm)]
    ends_mm = (z_mm.min(), z_mm.max()) if len(z_mm) else (0.0, 0.0)
    for middle_mm in np.arange(ends_mm[0] + size_mm / 2, ends_mm[1] - size_mm / 2, SPACING_MM):
        is_near = np.abs(z_mm - middle_mm) < SPACING_MM
        if is_near.sum() < 3:
            continue
        here = at.only(is_near)
        here.points_mm[:, 2] = middle_mm
        piece = cut(here, "ring_groove", size_mm)
        around_mm = _perimeter_mm(part, middle_mm)
        blobs = piece.blobs.copy()
        blobs[:, 0] *= around_mm / len(blobs)  # they are cut as pieces of 1 mm
        content = blobs[:, 0].sum()
        row = ["ring_groove", size_mm, *(blobs[:, 1:4].mean(axis=0)), content]
        table = pd.DataFrame([row], columns=piece.table.columns)
        pieces.append(Bank(table, blobs, np.zeros(len(blobs), np.int64)))
    return joined(pieces)


def _perimeter_mm(part: Part, z_mm: float) -> float:
    """Perimeter of the fluid at a height, by Crofton's formula from the area's gradient."""
    grid = part.fluid.grid
    i = int(np.argmin(np.abs(grid.axes_mm()[0] - z_mm)))
    smooth = gaussian_filter(part.fluid.array[i].astype(np.float64), SMOOTHING_VOXELS)
    slope = np.hypot(*np.gradient(smooth, *grid.voxel_mm[1:]))
    return float(slope.sum() * grid.voxel_mm[1] * grid.voxel_mm[2])


def _moments(kind: str, size_mm: float, wall_mm: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Volume, mean depth, and variances in depth, around and along, of a cut into a flat wall."""
    share = THINNING_DEPTH if kind == "thinning" else MAX_DEPTH
    deepest = share * wall_mm[:, None]
    if kind in ("pit", "groove", "ring_groove"):
        deepest = np.minimum(deepest, size_mm / 2)
    step = deepest / NUM_DEPTHS
    depth = (np.arange(NUM_DEPTHS) + 0.5) * step
    area, around, along = SECTIONS[kind](depth, size_mm, deepest)
    volume = (area * step).sum(axis=1)

    def mean(value: Array) -> Array:
        return np.asarray((area * value * step).sum(axis=1) / volume)

    middle = mean(depth)
    return volume, middle, mean((depth - middle[:, None]) ** 2), mean(around), mean(along)


# Section of a cut at a depth: area (mm2), variances around and along (mm2).
Section = Callable[[Array, float, Array], tuple[Array, Array, Array]]


def _pit(depth: Array, size_mm: float, deepest: Array) -> tuple[Array, Array, Array]:
    square = size_mm**2 / 4 - depth**2
    return np.pi * square, square / 4, square / 4


def _groove(depth: Array, size_mm: float, deepest: Array) -> tuple[Array, Array, Array]:
    width, length = 2 * np.sqrt(size_mm**2 / 4 - depth**2), GROOVE_LENGTH_RATIO * size_mm
    return width * length, width**2 / 12, np.full_like(depth, length**2 / 12)


def _ring_groove(depth: Array, size_mm: float, deepest: Array) -> tuple[Array, Array, Array]:
    """Return a piece of 1 mm, spread around over the distance of points."""
    width = 2 * np.sqrt(size_mm**2 / 4 - depth**2)
    return width, np.full_like(depth, RING_MM**2 / 12), width**2 / 12


def _crack(depth: Array, size_mm: float, deepest: Array) -> tuple[Array, Array, Array]:
    length = CRACK_LENGTH_RATIO * size_mm
    every = np.ones_like(depth)
    return size_mm * length * every, size_mm**2 / 12 * every, length**2 / 12 * every


def _thinning(depth: Array, size_mm: float, deepest: Array) -> tuple[Array, Array, Array]:
    square = size_mm**2 / 4 * (1 - depth / deepest)
    return np.pi * square, square / 4, square / 4


SECTIONS: dict[str, Section] = {
    "pit": _pit, "groove": _groove, "ring_groove": _ring_groove, "crack": _crack,
    "thinning": _thinning,
}  # fmt: skip


def _bank(kind: str, size_mm: float, contents: Array, places_mm: Array, moments: Array) -> Bank:
    """One blob per candidate."""
    upper = moments[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    x, y, z = places_mm.T
    table = pd.DataFrame(
        {"kind": kind, "size_mm": size_mm, "x_mm": x, "y_mm": y, "z_mm": z,
         "volume_mm3": np.abs(contents)}
    )  # fmt: skip
    blobs = np.column_stack([contents, places_mm, upper])
    return Bank(table, blobs, np.arange(len(contents), dtype=np.int64))
