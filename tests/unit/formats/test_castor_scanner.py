"""Scanner files of CASToR: by hand, and against the workflow's own ring."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.formats import castor_scanner
from tubepet.formats.castor_scanner import read_scanner
from tubepet.reconstruct.scanner import crystals
from tubepet.types import Scanner

GEOM = {
    "scanner name": "small", "number of elements": "24", "number of layers": "1",
    "scanner radius": "50", "number of rsectors": "4", "number of crystals transaxial": "3",
    "number of crystals axial": "2", "crystals size depth": "10", "crystals size transaxial": "4",
    "crystals size axial": "5",
}  # fmt: skip


def write_geom(folder: Path, **changes: str | None) -> Path:
    """Write the scanner above, with changes; spaces in a key are underscores."""
    lines = GEOM | {key.replace("_", " "): value for key, value in changes.items()}
    text = "".join(f"{key} : {value}   # mm\n" for key, value in lines.items() if value)
    (folder / "s.geom").write_text("# a scanner\n" + text)
    return folder / "s.geom"


def test_a_geometry_by_hand(tmp_path: Path) -> None:
    """Four plates of 3 x 2 crystals: the first above, the second to the right (clockwise)."""
    ring = read_scanner(write_geom(tmp_path))
    assert len(ring) == 24 and (ring.areas_mm2 == 20).all() and (ring.efficiency == 1).all()
    # ring after ring; in each, plate after plate; centres lie half a depth behind the radius
    x, y = [[-4, 55], [0, 55], [4, 55], [55, 4], [55, 0], [55, -4]], -2.5
    np.testing.assert_allclose(ring.points_mm[:6], [[*xy, y] for xy in x], atol=1e-9)
    np.testing.assert_allclose(ring.points_mm[12:18], [[*xy, 2.5] for xy in x], atol=1e-9)
    np.testing.assert_allclose(ring.normals[[0, 3]], [[0, -1, 0], [-1, 0, 0]], atol=1e-9)
    other = read_scanner(write_geom(tmp_path, rotation_direction="CCW"))
    # seen in a mirror: first the plate's crystal on the right, then the plate on the left
    np.testing.assert_allclose(other.points_mm, ring.points_mm * [-1, 1, 1], atol=1e-9)


def test_gaps_shifts_and_depth(tmp_path: Path) -> None:
    path = write_geom(
        tmp_path, crystal_gap_transaxial="1", crystal_gap_axial="2", rsectors_nbZShift="2",
        rsectors_ZShift="0,3", mean_depth_of_interaction="2", rsectors_first_angle="90",
        number_of_modules_axial="2", module_gap_axial="4", number_of_elements="48",
    )  # fmt: skip
    ring = read_scanner(path)
    # the first plate to the right: 2 mm behind the radius, shifted by 0, the next one by 3 mm
    np.testing.assert_allclose(ring.points_mm[:3, :2], [[52, 5], [52, 0], [52, -5]], atol=1e-9)
    # two modules of 5 + 2 + 5 mm, 4 mm between them
    z_mm = [-11.5, -4.5, 4.5, 11.5]
    np.testing.assert_allclose(ring.points_mm[::12, 2], z_mm, atol=1e-9)
    np.testing.assert_allclose(ring.points_mm[3::12, 2], np.array(z_mm) + 3, atol=1e-9)


def test_layers_come_one_after_the_other(tmp_path: Path) -> None:
    path = write_geom(
        tmp_path, number_of_layers="2", number_of_elements="48", scanner_radius="50,60",
        crystals_size_transaxial="4,3",
    )  # fmt: skip
    ring = read_scanner(path)
    assert len(ring) == 48
    np.testing.assert_allclose(ring.points_mm[[1, 25], 1], [55, 65])
    assert ring.areas_mm2[0] == 20 and ring.areas_mm2[24] == 15


def test_an_angle_is_a_least_distance(tmp_path: Path) -> None:
    """Plates a quarter turn apart are in coincidence from 90 degrees on, opposite ones always."""
    for angle_deg, expected in (("89", [False, True, True]), ("91", [False, False, True])):
        ring = read_scanner(write_geom(tmp_path, min_angle_difference=angle_deg))
        found = crystals.is_coincidence(ring, np.array([0, 0, 0]), np.array([1, 3, 6]))
        assert found.tolist() == expected


def test_a_geometry_is_the_workflows_ring(tmp_path: Path, scanner: Scanner) -> None:
    """The same crystals, whatever their order; interactions at half the depth in both."""
    depth_mm = 2 * (math.hypot(*crystals.of_scanner(scanner).points_mm[0, :2]))
    depth_mm -= 2 * scanner.inner_radius_mm
    path = write_geom(
        tmp_path, number_of_elements=str(scanner.num_crystals),
        scanner_radius=str(scanner.inner_radius_mm), number_of_rsectors=str(scanner.num_columns),
        number_of_crystals_transaxial="1", number_of_crystals_axial=str(scanner.num_rings),
        crystal_gap_axial=repr(scanner.axial_pitch_mm - scanner.crystal_height_mm),
        crystals_size_depth=repr(depth_mm), crystals_size_axial=repr(scanner.crystal_height_mm),
        crystals_size_transaxial=repr(scanner.crystal_width_mm), rotation_direction="CCW",
        rsectors_first_angle="-90",
    )  # fmt: skip
    found, ring = read_scanner(path), crystals.of_scanner(scanner)
    np.testing.assert_allclose(found.points_mm, ring.points_mm, atol=1e-9)
    np.testing.assert_allclose(found.normals, ring.normals, atol=1e-9)
    np.testing.assert_allclose(found.areas_mm2, ring.areas_mm2)


def write_lut(folder: Path, ring: crystals.Crystals, sign: float) -> Path:
    path = folder / "s.lut"
    np.hstack([ring.points_mm, sign * ring.normals]).astype("<f4").tofile(path)
    return path


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["inwards", "outwards"])
def test_a_table_of_either_direction(tmp_path, scanner, sign, caplog) -> None:
    ring = crystals.of_scanner(scanner)
    path = write_lut(tmp_path, ring, sign)
    found = read_scanner(path)
    np.testing.assert_allclose(found.points_mm, ring.points_mm, atol=1e-5)  # float32
    np.testing.assert_allclose(found.normals, ring.normals, atol=1e-6)
    assert (found.areas_mm2 == 1).all() and "there is no s.hscan beside it" in caplog.text
    header = path.with_suffix(".hscan")
    header.write_text(
        f"number of elements: {len(ring)}\nnumber of layers: 1\ncrystals size trans: 4\n"
        "crystals size axial: 5\ncrystals size depth: 10\nmean depth of interaction: 3\n"
    )
    for one in (path, header):
        sized = read_scanner(one)
        assert (sized.areas_mm2 == 20).all()
        # centres are at half of 10 mm, interactions at 3
        np.testing.assert_allclose(sized.points_mm - found.points_mm, 2 * ring.normals, atol=1e-5)


def test_tables_that_cannot_be(tmp_path: Path, scanner: Scanner) -> None:
    values = np.arange(12, dtype="<f4")
    values.tofile(tmp_path / "s.lut")
    points, normals = castor_scanner.read_lut(tmp_path / "s.lut")
    assert points.tolist() == [[0, 1, 2], [6, 7, 8]]
    assert normals.tolist() == [[3, 4, 5], [9, 10, 11]]
    (tmp_path / "s.lut").write_bytes(b"12345")
    with pytest.raises(InputError, match="got 5 bytes, expected 24"):
        castor_scanner.read_lut(tmp_path / "s.lut")
    ring = crystals.of_scanner(scanner)
    far = dataclasses.replace(ring, points_mm=1e6 * ring.points_mm)
    with pytest.raises(InputError, match="expected finite numbers of at most 100000 mm"):
        read_scanner(write_lut(tmp_path, far, 1.0))
    with pytest.raises(InputError, match="got a direction of length 0"):
        read_scanner(write_lut(tmp_path, ring, 0.0))
    header = write_lut(tmp_path, ring, 1.0).with_suffix(".hscan")
    header.write_text("number of elements: 7\n")
    with pytest.raises(InputError, match="480 crystals in layers and 7 elements, expected the 480"):
        read_scanner(header)
    (tmp_path / "s.lut").unlink()
    with pytest.raises(InputError, match=r"expected the table of crystals s\.lut beside it"):
        read_scanner(header)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"number_of_elements": "25"}, "got 25, expected the 24 that the other numbers make"),
        ({"number_of_rsectors": "99999", "number_of_crystals_axial": "99999"}, "e+10 crystals"),
        ({"number_of_rsectors": "1e9"}, "each of size 100000 or less"),
        ({"number_of_rsectors": "0"}, "expected whole numbers of at least 1"),
        ({"number_of_rsectors": "2.5"}, "expected whole numbers of at least 1"),
        ({"number_of_layers": "1000000"}, "each of size 100 or less"),
        ({"scanner_radius": "nan"}, "scanner radius: got 'nan', expected 1 numbers"),
        ({"scanner_radius": None}, "expected the key scanner radius"),
        ({"scanner_radius": "50,60,70"}, "scanner radius: got '50,60,70', expected 1 numbers"),
        ({"crystals_size_axial": "-1"}, "expected mm, not below 0"),
        ({"rsectors_nbZShift": "2"}, "expected the key rsectors zshift"),
    ],
)
def test_geometries_that_cannot_be(tmp_path: Path, changes, sentence) -> None:
    with pytest.raises(InputError) as error:
        read_scanner(write_geom(tmp_path, **changes))
    assert sentence in str(error.value)
