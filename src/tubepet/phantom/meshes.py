"""Read and check triangle meshes of parts, and find the points of a raster inside them.

A point's winding number is how often a line from below enters the mesh before it, less how often it
leaves. A point is inside if that is 1. Any number but 0 and 1 shows that the mesh crosses itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from tubepet.errors import InputError, reading

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

FORMATS = (".stl", ".ply", ".obj")
UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "inch": 25.4}
# A size of a part beyond these is a slip of the unit.
LEAST_MM, MOST_MM = 2.0, 1000.0
CANDIDATES = 1 << 20  # pairs of triangles and columns that are tested at once


@dataclass(frozen=True)
class Mesh:
    """A closed surface that faces outward.

    Attributes
    ----------
    path : str
        Its file, for messages.
    corners_mm : float64 array, shape (n, 3)
    triangles : int array, shape (m, 3)
        Counter-clockwise seen from outside.
    """

    path: str
    corners_mm: Array
    triangles: Indices

    @property
    def box_mm(self) -> Array:
        """Lowest and highest corner, shape (2, 3)."""
        return np.array([self.corners_mm.min(axis=0), self.corners_mm.max(axis=0)])

    def moved(self, shift_mm: Array) -> "Mesh":
        """Return the mesh, shifted by (x, y, z) mm."""
        return Mesh(self.path, self.corners_mm + shift_mm, self.triangles)


def read(path: str | Path, unit: str) -> Mesh:
    """Read a mesh.

    Parameters
    ----------
    unit : str
        Unit of the numbers in the file, one of `UNITS_MM`: no format of `FORMATS` states it.

    Raises
    ------
    InputError
        If the file is no mesh, the size is no part's in this unit, or the surface is not closed.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: got a file of another kind, expected STL, PLY or OBJ")
    if not path.is_file():
        raise InputError(f"{path}: got no such file, expected a mesh (STL, PLY or OBJ)")
    with reading(path, "a mesh (STL, PLY or OBJ)"):
        found = trimesh.load_mesh(path)
        corners, triangles = np.array(found.vertices, float), np.array(found.faces, np.intp)
    if not len(triangles) or not np.isfinite(corners).all():
        raise InputError(f"{path}: got {len(triangles)} triangles, expected some of finite numbers")
    corners_mm = corners * UNITS_MM[unit]
    check_size(str(path), np.ptp(corners_mm, axis=0), f" with unit {unit}")
    if not found.is_watertight:
        lonely = np.unique(found.edges_sorted, axis=0, return_counts=True)[1]
        raise InputError(
            f"{path}: got an open mesh ({(lonely != 2).sum()} edges do not have two triangles), "
            "expected a closed surface"
        )
    if not found.is_winding_consistent:
        raise InputError(
            f"{path}: got triangles that face different ways, expected a surface with one outside"
        )
    if found.volume < 0:  # all of it is inside out
        triangles = triangles[:, ::-1]
    return Mesh(str(path), corners_mm, triangles)


def check_size(where: str, size_mm: Array, told: str = "") -> None:
    """Raise `InputError` if an object is so small or large that its unit must be another."""
    largest = float(np.max(size_mm))
    if largest < LEAST_MM:
        likely = "is it in metres, or in inches?"
    elif largest > MOST_MM:
        likely = "is it in micrometres?"
    else:
        return
    raise InputError(
        f"{where}: got a part of {largest:.4g} mm{told}, expected {LEAST_MM:g} to {MOST_MM:g} mm "
        f"({likely})"
    )


def held(mesh: Mesh, z_mm: Array, y_mm: Array, x_mm: Array) -> Iterator[NDArray[np.bool_]]:
    """Yield which points of a raster are inside a mesh, plane by plane along z.

    Parameters
    ----------
    z_mm, y_mm, x_mm : float64 arrays, rising

    Yields
    ------
    bool array, shape (ny, nx)

    Raises
    ------
    InputError
        If a winding number is neither 0 nor 1: the mesh crosses itself. Crossings between the
        points are not seen.
    """
    plane, row, column, turn = _crossings(mesh, z_mm, y_mm, x_mm)
    order = np.argsort(plane, kind="stable")
    borders = np.searchsorted(plane[order], np.arange(len(z_mm) + 1))
    winding = np.zeros((len(y_mm), len(x_mm)), np.int32)
    for i, z in enumerate(z_mm):
        now = order[borders[i] : borders[i + 1]]
        np.add.at(winding, (row[now], column[now]), turn[now])
        if len(now) and (winding.min() < 0 or winding.max() > 1):
            j, k = np.argwhere((winding < 0) | (winding > 1))[0]
            raise InputError(
                f"{mesh.path}: got surfaces that cross each other near ({x_mm[k]:.2f}, "
                f"{y_mm[j]:.2f}, {z:.2f}) mm from the part's middle, expected a mesh that does not "
                "intersect itself (unite its bodies first)"
            )
        yield winding > 0


def _crossings(
    mesh: Mesh, z_mm: Array, y_mm: Array, x_mm: Array
) -> tuple[Indices, Indices, Indices, NDArray[np.int32]]:
    """Where columns along z cross triangles: first plane above, row, column, 1 in or -1 out."""
    corners = mesh.corners_mm[mesh.triangles]  # triangle, corner, x y z
    low, high = corners.min(axis=1), corners.max(axis=1)
    first = np.stack([np.searchsorted(a, low[:, i]) for i, a in enumerate((x_mm, y_mm))], axis=1)
    last = np.stack(
        [np.searchsorted(a, high[:, i], "right") for i, a in enumerate((x_mm, y_mm))], axis=1
    )
    size = np.maximum(last - first, 0)
    number = size.prod(axis=1)
    found: list[tuple[Indices, ...]] = []
    ends = np.cumsum(number)
    start = 0
    while start < len(number):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + CANDIDATES, "right")), start + 1)
        which = np.repeat(np.arange(start, stop), number[start:stop])
        rank = done + np.arange(len(which)) - (ends - number)[which]  # within its triangle
        row = first[which, 1] + rank // size[which, 0]
        column = first[which, 0] + rank % size[which, 0]
        side = _sides(corners[which], x_mm[column], y_mm[row])
        is_hit = np.abs(side.sum(axis=1)) == 3
        which, row, column, side = which[is_hit], row[is_hit], column[is_hit], side[is_hit]
        at = _heights(corners[which], x_mm[column], y_mm[row])
        # a column along +z goes in where the triangle faces down, clockwise seen from above
        found.append((np.searchsorted(z_mm, at), row, column, -side[:, 0]))
        start = stop
    plane, row, column, turn = (np.concatenate(values) for values in zip(*found, strict=True))
    return plane, row, column, turn.astype(np.int32)


def _sides(corners: Array, x: Array, y: Array) -> NDArray[np.int64]:
    """Side of each edge (n, 3) on which a point lies, 1 left or -1 right.

    Two triangles that share an edge compute the same number, so a column never slips between them
    or meets both. A point on an edge is taken for one slightly further along x and, less, y.
    """
    sides = []
    for i in range(3):
        a, b = corners[:, i, :2], corners[:, (i + 1) % 3, :2]
        is_turned = (a[:, 0] > b[:, 0]) | ((a[:, 0] == b[:, 0]) & (a[:, 1] > b[:, 1]))
        low, high = np.where(is_turned[:, None], b, a), np.where(is_turned[:, None], a, b)
        dx, dy = (high - low).T
        side = np.sign(dx * (y - low[:, 1]) - dy * (x - low[:, 0]))
        side = np.where(side == 0, np.where(dy == 0, 1.0, -np.sign(dy)), side)
        sides.append(np.where(is_turned, -side, side))
    return np.stack(sides, axis=1).astype(np.int64)


def _heights(corners: Array, x: Array, y: Array) -> Array:
    """Z of the plane of each triangle (n, 3, 3) over a point inside it."""
    a, b, c = (corners[:, i] for i in range(3))
    normal = np.cross(b - a, c - a)
    steep = normal[:, 2] == 0
    up = np.where(steep, 1.0, normal[:, 2])
    z = a[:, 2] - (normal[:, 0] * (x - a[:, 0]) + normal[:, 1] * (y - a[:, 1])) / up
    return np.clip(z, corners[:, :, 2].min(axis=1), corners[:, :, 2].max(axis=1))
