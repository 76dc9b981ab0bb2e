"""Make the meshes of a manifold: a chamfered block with two bores that cross at right angles.

Usage: python config/parts/manifold.py FOLDER. Writes body.stl, cavity.stl and pitted.stl (a cavity
with a pit in the wall of the main bore), in mm. The bores end inside the block: they are plugged.
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import trimesh

BLOCK_MM = (28.0, 22.0, 28.0)  # x, y, z
CHAMFER_MM = 3.0
MAIN_MM, CROSS_MM = 7.0, 4.5  # radius of the bore along z, and of the one along x
MAIN_HALF_MM, CROSS_HALF_MM = 12.0, 12.0  # half lengths
AROUND = 32  # points around each crossing, a multiple of 8
RINGS = 5  # of triangles between a crossing and the ends of its half of the main bore
PIT_MM, PIT_RADIUS_MM = np.array([0.0, -MAIN_MM, -6.0]), 2.0  # its middle, on the wall


def block():
    """Return the convex hull of the box's corners, each cut back along two of three axes."""
    half = np.array(BLOCK_MM) / 2
    corners = []
    for signs in np.ndindex(2, 2, 2):
        corner = half * (2 * np.array(signs) - 1)
        for axis in range(3):
            cut = np.full(3, CHAMFER_MM)
            cut[axis] = 0
            corners.append(np.sign(corner) * (np.abs(corner) - cut))
    return trimesh.convex.convex_hull(np.array(corners))


def strip(first, second):
    """Return the triangles between two closed rings of points, shape (2 n, 3, 3)."""
    first_on, second_on = np.roll(first, -1, axis=0), np.roll(second, -1, axis=0)
    lower = np.stack([first, second, second_on], axis=1)
    return np.concatenate([lower, np.stack([first, second_on, first_on], axis=1)])


def fan(ring):
    """Return the triangles between a closed ring of points and its middle."""
    middle = np.broadcast_to(ring.mean(axis=0), ring.shape)
    return np.stack([ring, np.roll(ring, -1, axis=0), middle], axis=1)


def bore_half(side):
    """Return the half of the cavity at x > 0 (side 1) or x < 0 (-1), without the main bore's ends.

    On the main bore, unrolled to (arc, z), rings of points go from the crossing to the rectangle
    that the half of the bore unrolls to. Halves meet at its edges, where arc is +-a quarter turn.
    """
    turn = 2 * np.pi * np.arange(AROUND) / AROUND
    y, z = CROSS_MM * np.cos(turn), CROSS_MM * np.sin(turn)
    hole = np.stack([np.arcsin(y / MAIN_MM), z], axis=1)
    # an eighth of the points to each half edge of the rectangle, evenly
    quarter = AROUND // 8
    half_edge = np.arange(quarter) / quarter
    ones = np.ones(quarter)
    square = np.concatenate([
        np.stack([ones, half_edge], 1), np.stack([1 - half_edge, ones], 1),
        np.stack([-half_edge, ones], 1), np.stack([-ones, 1 - half_edge], 1),
        np.stack([-ones, -half_edge], 1), np.stack([half_edge - 1, -ones], 1),
        np.stack([half_edge, -ones], 1), np.stack([ones, half_edge - 1], 1),
    ])  # fmt: skip
    edge = square * [np.pi / 2, MAIN_HALF_MM]
    rings = []
    for share in np.linspace(0, 1, RINGS + 1):
        arc, height = ((1 - share) * hole + share * edge).T
        x = MAIN_MM * np.cos(arc)
        x[np.abs(np.abs(arc) - np.pi / 2) < 1e-9] = 0.0  # both halves have these points
        rings.append(np.stack([x, MAIN_MM * np.sin(arc), height], axis=1))
    end = rings[0].copy()
    end[:, 0] = CROSS_HALF_MM
    triangles = [strip(a, b) for a, b in pairwise(rings)]
    triangles += [strip(end, rings[0]), fan(end)]
    return np.concatenate(triangles) * [side, 1, 1]


def end_discs():
    """Return the flat ends of the main bore, on the points that its halves have there."""
    arc = np.pi / 2 * (np.arange(AROUND // 4 + 1) / (AROUND // 8) - 1)
    x, y = MAIN_MM * np.cos(arc), MAIN_MM * np.sin(arc)
    x[[0, -1]] = 0.0
    ring = np.concatenate([np.stack([x, y], 1), np.stack([-x, y], 1)[-2:0:-1]])
    return np.concatenate(
        [fan(np.column_stack([ring, np.full(len(ring), z)])) for z in (-MAIN_HALF_MM, MAIN_HALF_MM)]
    )


def cavity():
    """Return the two bores as one closed surface."""
    pieces = [bore_half(1), bore_half(-1), end_discs()]
    corners = np.round(np.concatenate(pieces).reshape(-1, 3), 9)
    mesh = trimesh.Trimesh(corners, np.arange(len(corners)).reshape(-1, 3))
    mesh.merge_vertices()
    trimesh.repair.fix_normals(mesh)
    return mesh


def pitted(mesh):
    """Return the cavity on finer triangles, its wall pushed outward to a ball around the pit."""
    fine = mesh.subdivide().subdivide()
    corners = np.array(fine.vertices)
    away_mm = np.linalg.norm(corners - PIT_MM, axis=1)
    near = away_mm < PIT_RADIUS_MM
    outward = corners[near] * [1, 1, 0]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    corners[near] += outward * np.sqrt(PIT_RADIUS_MM**2 - away_mm[near] ** 2)[:, None]
    return trimesh.Trimesh(corners, fine.faces, process=False)


def make(folder):
    """Write the three meshes into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    hollow = cavity()
    for name, mesh in (("body", block()), ("cavity", hollow), ("pitted", pitted(hollow))):
        mesh.export(folder / f"{name}.stl")
        print(f"{folder / name}.stl: {len(mesh.faces)} triangles, {mesh.volume:.0f} mm3")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
