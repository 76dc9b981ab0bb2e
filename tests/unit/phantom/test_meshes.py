"""Meshes: their volume by hand and against other counts, and meshes that are refused."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tubepet.errors import InputError
from tubepet.phantom import meshes


def wrapped(mesh: trimesh.Trimesh) -> meshes.Mesh:
    return meshes.Mesh("made.stl", np.array(mesh.vertices), np.array(mesh.faces))


def held(mesh: meshes.Mesh, axis_mm: np.ndarray) -> np.ndarray:
    return np.array(list(meshes.held(mesh, axis_mm, axis_mm, axis_mm)))


def test_a_box_holds_the_points_inside_it_even_on_its_edges():
    """Points in steps of 1 on faces, edges and diagonals of the triangles: half-open intervals."""
    mesh = wrapped(trimesh.creation.box(bounds=[[-2, -1, -1], [2, 1, 3]]))
    axis = np.arange(-4.0, 5.0)
    found = held(mesh, axis)
    assert found.sum() == 4 * 2 * 4
    z, y, x = (axis[i] for i in np.nonzero(found))
    assert (x.min(), y.min(), z.min()) == (-2, -1, -1)
    assert (x.max(), y.max(), z.max()) == (1, 0, 2)


@given(
    turn=st.tuples(*[st.floats(-3, 3)] * 3), shift=st.tuples(*[st.floats(-1, 1)] * 3),
    sides=st.integers(3, 24),
)  # fmt: skip
def test_a_turned_prism_holds_what_its_planes_enclose(turn, shift, sides):
    """A convex mesh is the intersection of the half spaces behind its triangles."""
    mesh = trimesh.creation.cylinder(radius=3, height=5, sections=sides)
    mesh.apply_transform(trimesh.transformations.euler_matrix(*turn))
    mesh.apply_translation(shift)
    axis = np.linspace(-5, 5, 24) + 0.0137
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    points = np.stack([x, y, z], axis=-1)
    depth = np.full(x.shape, np.inf)
    for normal, corner in zip(mesh.face_normals, mesh.triangles[:, 0], strict=True):
        depth = np.minimum(depth, (corner - points) @ normal)
    clear = np.abs(depth) > 1e-9  # else it lies on a face
    assert (held(wrapped(mesh), axis)[clear] == (depth > 0)[clear]).all()


def test_a_shell_within_a_shell_is_hollow():
    outer, inner = trimesh.creation.icosphere(3, 4.0), trimesh.creation.icosphere(3, 2.0)
    inner.invert()
    axis = np.arange(-5, 5, 0.2) + 0.1
    volume = held(wrapped(outer + inner), axis).sum() * 0.2**3
    assert_allclose(volume, outer.volume + inner.volume, rtol=0.01)  # the sampling


@pytest.fixture
def box() -> trimesh.Trimesh:
    return trimesh.creation.box((20, 16, 12))


@pytest.mark.parametrize("suffix", meshes.FORMATS)
@pytest.mark.parametrize("unit", meshes.UNITS_MM)
def test_all_formats_and_units_are_read(box, tmp_path, suffix, unit):
    box.apply_scale(1 / meshes.UNITS_MM[unit])
    box.export(tmp_path / f"a{suffix}")
    found = meshes.read(tmp_path / f"a{suffix}", unit)
    assert_allclose(found.box_mm, [[-10, -8, -6], [10, 8, 6]], rtol=1e-6)  # STL has 32 bits


def test_a_mesh_that_is_inside_out_is_turned(box, tmp_path):
    box.invert()
    box.export(tmp_path / "a.ply")
    assert held(meshes.read(tmp_path / "a.ply", "mm"), np.array([-30.0, 0, 30])).sum() == 1


def test_a_mesh_in_metres_is_suspected(box, tmp_path):
    box.apply_scale(1e-3)
    box.export(tmp_path / "a.stl")
    with pytest.raises(InputError, match=r"a\.stl: got a part of 0.02 mm with unit mm.*metres"):
        meshes.read(tmp_path / "a.stl", "mm")
    with pytest.raises(InputError, match=r"a\.stl: got a part of 2e\+04 mm with unit m, exp"):
        box.apply_scale(1e3)
        box.export(tmp_path / "a.stl")
        meshes.read(tmp_path / "a.stl", "m")


def test_an_open_mesh_is_refused(box, tmp_path):
    box.update_faces(np.arange(len(box.faces)) > 0)
    box.export(tmp_path / "a.stl")
    with pytest.raises(InputError, match=r"open mesh \(3 edges do not have two triangles\)"):
        meshes.read(tmp_path / "a.stl", "mm")


def test_triangles_that_face_different_ways_are_refused(box, tmp_path):
    box.faces = np.concatenate([box.faces[:1, ::-1], box.faces[1:]])
    box.export(tmp_path / "a.ply")
    with pytest.raises(InputError, match=r"a\.ply: got triangles that face different ways"):
        meshes.read(tmp_path / "a.ply", "mm")


def test_a_mesh_that_crosses_itself_is_refused(box, tmp_path):
    """Two overlapping boxes in one file, as some programs export a part."""
    other = box.copy()
    other.apply_translation((5, 5, 5))
    (box + other).export(tmp_path / "a.stl")
    found = meshes.read(tmp_path / "a.stl", "mm")
    with pytest.raises(InputError, match=r"a\.stl: got surfaces that cross each other near \("):
        held(found, np.arange(-20.0, 20.0))


def test_what_is_no_mesh_is_refused(tmp_path: Path):
    for name in ("a.stl", "a.ply", "a.obj"):
        (tmp_path / name).write_bytes(b"solid nothing")
        with pytest.raises(InputError, match=rf"{name}: .*expected"):
            meshes.read(tmp_path / name, "mm")
    with pytest.raises(InputError, match=r"a\.step: got a file of another kind"):
        meshes.read(tmp_path / "a.step", "mm")
    with pytest.raises(InputError, match=r"b\.stl: got no such file"):
        meshes.read(tmp_path / "b.stl", "mm")
