"""Own parts: by hand, against tubes, and the message for every impossible part."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
import yaml
from numpy.testing import assert_allclose

from tubepet import io
from tubepet.errors import InputError
from tubepet.inspect.part import of_truth, of_tube
from tubepet.inspect.part_file import read_part
from tubepet.phantom import geometry, maps, parts, picture
from tubepet.phantom.parts import Room
from tubepet.phantom.spec import given_tube
from tubepet.types import Grid, Volume

GIVEN = {"family": "round", "length_mm": 10.0, "bore_radius_mm": 6.0, "wall_mm": 2.5}
FINE = {"voxel_mm": 0.5, "supersampling": 4}
ROOM = Room(bore_mm=125.0, half_width_mm=16.0, half_length_mm=16.0)
TABLE = "label,material,g_cm3,activity\n7,oil,,1\n3,brass,8.6,\n5,pmma,,0.25\n"


def smooth(radius: float, height: float) -> trimesh.Trimesh:
    return trimesh.creation.cylinder(radius=radius, height=height, sections=256)


@pytest.fixture
def cube(tmp_path: Path) -> dict[str, Any]:
    """Return a block with a round hole, away from the origin, as a user's files are."""
    body, cavity = trimesh.creation.box((20, 18, 16)), smooth(5, 12)
    for name, mesh in (("body", body), ("cavity", cavity)):
        mesh.apply_translation((130.0, -20.0, 7.7))
        mesh.export(tmp_path / f"{name}.stl")
    names = {name: str(tmp_path / f"{name}.stl") for name in ("body", "cavity")}
    return {"name": "cube", **names, "unit": "mm", "wall": "steel"}


@pytest.fixture
def volume(tmp_path: Path) -> dict[str, Any]:
    """Return a label volume: brass around oil around PMMA that has soaked up a quarter."""
    labels = np.zeros((10, 12, 14), np.int16)
    labels[1:9, 1:11, 1:13] = 3
    labels[2:8, 3:9, 3:11] = 7
    labels[4:6, 5:7, 5:9] = 5
    grid = Grid(labels.shape, (2.0, 1.0, 1.0), (100.0, -50.0, 3.0))
    io.write_volume(tmp_path / "labels.nii.gz", Volume(labels, grid))
    (tmp_path / "table.csv").write_text(TABLE)
    paths = {"labels": tmp_path / "labels.nii.gz", "table": tmp_path / "table.csv"}
    return {"name": "valve", **{key: str(path) for key, path in paths.items()}}


def test_a_cube_with_a_round_hole(cube):
    voxels = parts.draw("x", cube, FINE)
    # curved surfaces are sampled 4 x per 0.5 mm, flat ones lie on the sampling
    hole = np.pi * 5**2 * 12
    assert_allclose(voxels.fluid_volume_mm3(), hole, rtol=2e-3)
    assert_allclose(voxels.wall.sum() * 0.5**3, 20 * 18 * 16 - hole, rtol=1e-3)
    axes = zip(voxels.grid.axes_mm(), np.nonzero(voxels.wall), strict=True)
    assert_allclose([np.abs(axis[i]).max() for axis, i in axes], [7.75, 8.75, 9.75])  # centred
    mu = maps.mu_per_mm(voxels)
    assert_allclose(mu[2, 2, 2], 0.06696, rtol=1e-3)  # steel: test_materials
    assert_allclose(mu[tuple(n // 2 for n in mu.shape)], maps.MU_WATER_PER_MM)
    assert set(np.unique(voxels.labels())) == {0, 1, 2}


def test_a_round_tube_as_meshes_is_the_tube(tmp_path):
    """Of 256 sides: its circles are 0.01 % smaller than round ones."""
    tube = given_tube(GIVEN, "test")
    smooth(8.5, 10).export(tmp_path / "body.ply")
    smooth(6, 10).export(tmp_path / "cavity.ply")  # open at both ends, as tubes are
    pair = {"name": "a", "body": tmp_path / "body.ply", "cavity": tmp_path / "cavity.ply"}
    made = parts.draw("x", pair | {"unit": "mm"}, FINE)
    drawn = geometry.voxelise(tube, 0.5, 4)
    assert made.grid == drawn.grid
    for name in ("fluid", "wall"):
        off = np.abs(getattr(made, name) - getattr(drawn, name))
        assert off.max() <= 4 / 64  # a column of sample points
        assert (off > 0).mean() < 0.01
    assert_allclose(made.fluid_volume_mm3(), drawn.fluid_volume_mm3(), rtol=1e-3)


def test_a_tube_of_another_material():
    numbers = GIVEN | {"defect": "pit", "defect_size_mm": 3.0}
    part = {"name": "a", "tube": numbers, "wall": "titanium"}
    voxels = parts.draw("x", part, FINE)
    plain = geometry.voxelise(given_tube(numbers, "test"), 0.5, 4)
    assert (voxels.fluid == plain.fluid).all() and voxels.defect_volume_mm3 > 0
    mu, solid = maps.mu_per_mm(voxels), voxels.wall == 1
    assert_allclose(mu[solid], maps.filling_mu_per_mm(voxels.fillings[1]), rtol=1e-6)
    facts = parts.truth("tube_0003", part, voxels, voxels.fluid, 1)
    assert facts["family"] == "round" and facts["geometry"]["wall_mm"] == 2.5
    assert facts["fillings"][1] == {"material": "titanium", "g_cm3": 4.54, "activity": 0.0}


def test_labels_have_materials_densities_and_shares_of_the_activity(volume, tmp_path):
    voxels = parts.draw("x", volume, FINE)
    # most active first; grid voxels are whole multiples of half a millimetre
    assert [one.material for one in voxels.fillings] == ["oil", "pmma", "brass"]
    assert [one.g_cm3 for one in voxels.fillings] == [0.87, 1.19, 8.6]
    num_oil, num_pmma = 6 * 6 * 8 - 2 * 2 * 4, 2 * 2 * 4
    assert_allclose(voxels.fluid_volume_mm3(), 2 * (num_oil + num_pmma / 4), rtol=1e-6)
    assert_allclose(voxels.wall.sum() * 0.5**3, 2 * (8 * 10 * 12 - 6 * 6 * 8), rtol=1e-6)
    assert voxels.labels().max() == 3
    rows = {7: {"material": "oil", "activity": 1}, 3: {"material": "brass", "g_cm3": 8.6}}
    rows[5] = {"material": "pmma", "activity": 0.25}
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(rows))
    same = parts.draw("x", volume | {"table": str(tmp_path / "table.yaml")}, FINE)
    assert (same.shares == voxels.shares).all() and same.fillings == voxels.fillings


def test_a_defect_is_what_differs_from_the_drawing(cube, volume, tmp_path):
    wider = trimesh.creation.box((4, 4, 4))
    body, cavity = smooth(5, 12), wider
    cavity.apply_translation((130 + 3.0, -20, 7.7))
    # the cavity as it is: round, and of its own a cube of 4 mm apart from it in the wall
    cavity.apply_translation((4.5, 0, 0))
    body.apply_translation((130.0, -20.0, 7.7))
    (body + cavity).export(tmp_path / "made.stl")
    defect = {"class": "pit", "file": str(tmp_path / "made.stl")}
    voxels = parts.draw("x", cube | {"defect": defect}, FINE)
    assert_allclose(voxels.defect_volume_mm3, 64, rtol=0.01)
    assert_allclose(voxels.defect_box_mm, [[5.5, 9.5], [-2, 2], [-2, 2]], atol=0.13)
    nominal = voxels.nominal()
    assert (nominal.fluid == parts.draw("x", cube, FINE).fluid).all()

    labels = io.read_volume(volume["labels"])
    labels.array[2, 2, 6] = 7
    io.write_volume(tmp_path / "made.nii.gz", labels)
    defect = {"class": "pit", "file": str(tmp_path / "made.nii.gz")}
    voxels = parts.draw("x", volume | {"defect": defect}, FINE)
    assert_allclose(voxels.defect_volume_mm3, 2.0)
    facts = parts.truth("tube_0001", volume | {"defect": defect}, voxels, voxels.fluid, 1)
    assert facts["defects"][0]["class"] == facts["defect"] == "pit"
    assert_allclose(facts["defects"][0]["size_mm"], 2.0)
    assert facts["length_mm"] == 16.0 and facts["family"] == "valve"
    row = maps.table_row(facts)
    assert row["defect_volume_mm3"] == 2.0 and row["made_of"].startswith("oil 0.87 g/cm3, pmma")
    drawing = picture.draw_tube(
        Volume(voxels.labels(), voxels.grid), Volume(voxels.fluid, voxels.grid), facts
    )
    assert "valve, defect: pit" in drawing.get_suptitle()


def test_slices_of_a_part_are_drawn_from_its_voxels(cube):
    voxels = parts.draw("x", cube, FINE)
    facts = parts.truth("tube_0000", cube, voxels, voxels.fluid, 1)
    sampled = parts.of_truth(facts, FINE)
    assert isinstance(sampled, geometry.Sampled) and sampled.length_mm == 16
    z, y, x = geometry.sample_places_mm(voxels.grid, 1)
    made, drawn = sampled.materials(x[None, None, :], y[None, :, None], z[:, None, None])
    assert (made == voxels.labels()).all() and (drawn == made).all()
    far = np.array([40.0])
    assert sampled.materials(far, far, far)[0].item() == 0


def test_a_part_of_a_file_is_that_of_the_config(cube, volume, tmp_path):
    """Meshes, labels and numbers, with paths relative to the file."""
    for entry in (cube, volume, {"name": "a", "tube": GIVEN, "wall": "steel"}):
        own = {k: Path(v).name if k in parts.PATHS else v for k, v in entry.items()}
        del own["name"]
        (tmp_path / "part.yaml").write_text(yaml.safe_dump(own))
        part, voxels = read_part(tmp_path / "part.yaml", FINE), parts.draw("x", entry, FINE)
        assert (part.fluid.array == voxels.fluid).all() and (part.wall.array == voxels.wall).all()
        assert (part.mu.array == maps.mu_per_mm(voxels)).all()
        assert part.wall_per_mm > 0.06 and 0.008 < part.fluid_per_mm < 0.01
        facts = parts.truth("tube_0000", entry, voxels, voxels.fluid, 1)
        assert (of_truth(facts, FINE).mu.array == part.mu.array).all()
    (tmp_path / "tube.yaml").write_text(yaml.safe_dump(GIVEN))
    found, tube = read_part(tmp_path / "tube.yaml", FINE), of_tube(given_tube(GIVEN, "x"), FINE)
    assert (found.mu.array == tube.mu.array).all()
    assert found.wall_per_mm == maps.MU_ALUMINIUM_PER_MM


def without(key: str) -> Callable[..., Any]:
    return lambda entry: {k: v for k, v in entry.items() if k != key}


def changed(**values: Any) -> Callable[..., Any]:
    return lambda entry: entry | values


BAD_MESHES = {
    "no cavity": (without("cavity"), r"x: got a body without a cavity, expected the key cavity"),
    "no unit": (without("unit"), r"x: got body without unit, expected both"),
    "two kinds": (changed(tube=GIVEN), r"x: got tube and body, expected exactly one of tube, b"),
    "none": (lambda entry: {"name": "a"}, r"x: got none of them, expected exactly one"),
    "foreign key": (changed(table="t.csv"), r"x\.table: got a key that does not go with body"),
    "unit": (changed(unit="feet"), r"x\.unit: got 'feet', expected one of mm, cm, m, inch"),
    "metal": (changed(wall="bronze"), r"x\.wall: got material 'bronze', expected one of air"),
    "density": (changed(wall_g_cm3=7850), r"x\.wall: got a density of 7850 g/cm3"),
    "defect": (changed(defect="made.stl"), r"x\.defect: got 'made\.stl', expected the keys"),
    "class": (changed(defect={"class": "hole", "file": "a"}), r"class: got 'hole', expected one"),
    "outside": (
        lambda entry: entry | {"body": entry["cavity"], "cavity": entry["body"]},
        r"body\.stl: got a cavity that reaches 5 mm out of the body .*cavity\.stl, exp",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MESHES)
def test_bad_meshes_are_one_sentence(cube, name):
    change, message = BAD_MESHES[name]
    with pytest.raises(InputError, match=message) as caught:
        parts.draw("x", change(cube), FINE)
    assert "\n" not in str(caught.value)


def test_a_cavity_that_leaves_its_body_within_the_box(cube, tmp_path):
    """A ball as the body: its box holds the cavity's, the ball does not."""
    ball = trimesh.creation.icosphere(3, 6.5)
    ball.apply_translation((130.0, -20.0, 7.7))
    ball.export(tmp_path / "ball.stl")
    with pytest.raises(InputError, match=r"cavity\.stl: got a cavity with \d+% of its volume outs"):
        parts.draw("x", cube | {"body": str(tmp_path / "ball.stl")}, FINE)


def test_more_voxels_than_memory(cube):
    with pytest.raises(InputError, match=r"x: got a part of 20 mm, which is 1\.\de\+08 voxels"):
        parts.draw("x", cube, FINE | {"voxel_mm": 0.0375})


def test_a_cavity_too_small_and_a_defect_that_is_none(cube, tmp_path):
    tiny = trimesh.creation.box((2.5, 0.05, 0.05))
    tiny.apply_translation((130.0, -20.0, 7.7))
    tiny.export(tmp_path / "tiny.stl")
    with pytest.raises(InputError, match=r"x: got a cavity that holds no sample point \(.*tiny"):
        parts.draw("x", cube | {"cavity": tmp_path / "tiny.stl"}, FINE)
    same = {"class": "pit", "file": cube["cavity"]}
    with pytest.raises(InputError, match=r"x\.defect: got .*cavity\.stl, which changes no sample"):
        parts.draw("x", cube | {"defect": same}, FINE)


BAD_TABLES = {
    "no material of a label": (
        TABLE.replace("5,pmma,,0.25\n", ""),
        "label 5 in 16 voxels with",
    ),
    "an empty material": (TABLE.replace("pmma", ""), "label 5: got no material, expected one of"),
    "no activity": (TABLE.replace(",1\n", ",\n").replace("0.25", ""), "no label with an activity"),
    "unknown column": (TABLE.replace("g_cm3", "density"), "got 'density', expected only label, m"),
    "no number": (TABLE.replace("8.6", "heavy"), "got g_cm3 'heavy', expected a number"),
    "a label twice": (TABLE + "7,water,,1\n", "got label 7, expected each label once"),
    "Bq in place of a share": (TABLE.replace("0.25", "600"), "label 5: got an activity of 600"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables_are_one_sentence(volume, name):
    text, message = BAD_TABLES[name]
    Path(volume["table"]).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        parts.draw("x", volume, FINE)
    assert "\n" not in str(caught.value)


def test_bad_label_volumes(volume, tmp_path):
    labels = io.read_volume(volume["labels"])
    io.write_volume(tmp_path / "half.nii.gz", Volume(labels.array + 0.5, labels.grid))
    with pytest.raises(InputError, match=r"half\.nii\.gz: got values that are no labels"):
        parts.draw("x", volume | {"labels": tmp_path / "half.nii.gz"}, FINE)
    small = Grid(labels.grid.shape, (0.002, 0.001, 0.001), (0.0, 0.0, 0.0))
    io.write_volume(tmp_path / "m.nii.gz", Volume(labels.array, small))
    with pytest.raises(InputError, match=r"m\.nii\.gz: got a part of 0\.016 mm, .*metres"):
        parts.draw("x", volume | {"labels": tmp_path / "m.nii.gz"}, FINE)
    with pytest.raises(InputError, match=r"no\.csv: got no such file, expected the labels' table"):
        parts.draw("x", volume | {"table": tmp_path / "no.csv"}, FINE)


@pytest.mark.parametrize(
    ("room", "message"),
    [
        (
            Room(14.0, 16.0, 16.0),
            r"x: got .* reaches 14\.\d mm from the axis, .*bore, 14 mm",
        ),
        (
            Room(125.0, 9.0, 16.0),
            r"reaches 10\.0 mm across the axis, .* at most 9 mm, half of",
        ),
        (Room(125.0, 16.0, 7.0), r"reaches 8\.0 mm along the axis, .* at most 7 mm, half of"),
    ],
)
def test_parts_that_do_not_fit_scanner_or_image(cube, room, message):
    voxels = parts.draw("x", cube, FINE)
    parts.check_room("x", voxels, ROOM)
    with pytest.raises(InputError, match=message):
        parts.check_room("x", voxels, room)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"family": "round"}, r"x\.length_mm: missing, expected a value"),
        (GIVEN | {"family": "bent"}, r"x\.bend_mm: missing, expected a value"),
        (GIVEN | {"defect": "pit"}, r"x\.defect_size_mm: missing, expected a value"),
        (GIVEN | {"radius": 3}, r"x\.radius: unknown key, expected family, defect"),
        (GIVEN | {"family": "square"}, r"x\.family: got 'square', expected one of round"),
    ],
)
def test_numbers_of_no_tube(numbers, message):
    with pytest.raises(InputError, match=message):
        given_tube(numbers, "x")


def test_files_of_no_part(tmp_path):
    with pytest.raises(InputError, match=r"no\.yaml: got no such file, expected a part"):
        parts.read(tmp_path / "no.yaml")
    (tmp_path / "a.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match=r"a\.yaml: expected a mapping with one of tube, body"):
        parts.read(tmp_path / "a.yaml")


def test_the_example_is_a_part_with_crossing_bores(root, tmp_path):
    spec = importlib.util.spec_from_file_location("manifold", root / "config/parts/manifold.py")
    manifold = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(manifold)
    manifold.make(tmp_path)
    main, cross = manifold.MAIN_MM, manifold.CROSS_MM
    x = np.linspace(-cross, cross, 4001)
    common = np.trapezoid(4 * np.sqrt((main**2 - x**2) * (cross**2 - x**2)), x)
    bores = 2 * np.pi * (main**2 * manifold.MAIN_HALF_MM + cross**2 * manifold.CROSS_HALF_MM)
    entry = yaml.safe_load((root / "config/parts/manifold.yaml").read_text())["phantom"]["parts"]
    part = {
        key: str(tmp_path / Path(value).name) if key in parts.PATHS else value
        for key, value in entry["tube_0000"].items()
    }
    voxels = parts.draw("x", part, FINE)
    parts.check_room("x", voxels, ROOM)
    # polygons of 32 sides have 0.6 % less area than their circles
    assert_allclose(voxels.fluid_volume_mm3(), bores - common, rtol=0.02)
    pit = {"class": "pit", "file": str(tmp_path / "pitted.stl")}
    half_ball = 2 / 3 * np.pi * manifold.PIT_RADIUS_MM**3
    changed = parts.draw("x", part | {"defect": pit}, FINE).defect_volume_mm3
    assert_allclose(changed, half_ball, rtol=0.2)  # of triangles of half a millimetre
