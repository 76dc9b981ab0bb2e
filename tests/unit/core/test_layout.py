"""Crystals of rings and of modules: their positions, and layouts that do not fit."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from tubepet import layout
from tubepet.errors import InputError
from tubepet.types import Scanner

HEADS = {
    "around": 2, "first_angle_deg": 90, "inner_radius_mm": 30.0, "z_mm": [-10.0, 10.0],
    "columns": 3, "rings": 2, "crystal_width_mm": 3.0, "crystal_height_mm": 4.0,
    "crystal_depth_mm": 10.0, "pitch_width_mm": 3.5, "pitch_height_mm": 5.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def ring(root):
    return Scanner(**yaml.safe_load((root / "config/config.yaml").read_text())["scanner"])


def of(ring, *changes):
    return replace(ring, modules=[HEADS | change for change in changes])


def test_two_heads_by_hand(ring):
    """The first head is above the axis: its columns run to -x, those of the other to +x."""
    scanner = of(ring, {})
    table = layout.table(scanner)
    assert len(table) == scanner.num_crystals == 2 * 2 * 3 * 2
    np.testing.assert_allclose(table.centres_mm[0], [3.5, 35.0, -12.5], atol=1e-12)
    np.testing.assert_allclose(table.centres_mm[1], [0.0, 35.0, -12.5], atol=1e-12)
    np.testing.assert_allclose(table.centres_mm[5], [-3.5, 35.0, -7.5], atol=1e-12)
    np.testing.assert_allclose(table.centres_mm[6], [-3.5, -35.0, -12.5], atol=1e-12)
    np.testing.assert_allclose(table.centres_mm[12], [3.5, 35.0, 7.5], atol=1e-12)
    np.testing.assert_array_equal(table.module[[0, 5, 6, 12, 23]], [0, 0, 1, 2, 3])
    # all rings are at an edge along the axis, two of three columns at one across it
    np.testing.assert_array_equal(table.kind[:6], [3, 2, 3, 3, 2, 3])
    points = table.points_mm(np.full(24, 2.0))
    np.testing.assert_allclose(points[1], [0.0, 32.0, -12.5], atol=1e-12)
    assert layout.bore_mm(scanner) == 30 and layout.half_length_mm(scanner) == 10 + 9 / 2
    assert layout.reach_mm(scanner) == pytest.approx(np.hypot(40, 5))


def test_a_ring_is_what_it_was(ring):
    table = layout.table(ring)
    turn = 2 * np.pi / 184
    expected = [135 * np.cos(turn), 135 * np.sin(turn), (1 - 31.5) * 4.2]
    np.testing.assert_allclose(table.centres_mm[185], expected)
    assert not list(layout.problems(ring)) and ring.is_even_ring
    assert layout.reach_mm(ring) == np.hypot(145, 2) and layout.bore_mm(ring) == 125


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ([{"pitch_width_mm": 2.9}], r"modules\[0\]\.crystal_width_mm: got 3 mm, .* 2\.9 mm"),
        ([{"pitch_height_mm": 3.9}], r"modules\[0\]\.crystal_height_mm: got 4 mm, .* 3\.9 mm"),
        ([{"z_mm": [0.0, 8.9]}], r"modules\[0\]\.z_mm: got modules 8\.9 mm apart, .* 9 mm"),
        ([{"around": 20}], r"modules\[0\]: modules of 10 mm width overlap, .* 9\.\d+ mm"),
        ([{}, {"inner_radius_mm": 39.9}], r"modules\[1\]: overlaps with scanner\.modules\[0\]"),
        ([{}, {}], r"modules\[1\]: overlaps with scanner\.modules\[0\]"),
    ],
)  # fmt: skip
def test_what_has_no_room_is_refused_in_one_sentence(ring, changes, sentence):
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError(" ".join(layout.problems(of(ring, *changes))))


def test_a_least_distance_that_no_two_crystals_have_is_refused(ring):
    """The outer crystals of the heads are 70 mm apart along y and 7 mm along x; the ring: 270."""
    for scanner, largest_mm in ((of(ring, {}), np.hypot(70, 7)), (ring, 270.0)):
        fine, bad = (
            replace(scanner, min_transaxial_distance_mm=largest_mm + more) for more in (0, 0.1)
        )
        assert list(layout.problems(fine)) == []
        (sentence,) = layout.problems(bad)
        assert f"mm, expected at most {largest_mm:.1f} mm, the largest" in sentence


@pytest.mark.parametrize(
    "changes",
    [
        [{"z_mm": [0.0, 9.0]}],  # touching is no overlap
        [{"around": 18}],  # 10.6 mm of room
        [{}, {"inner_radius_mm": 40.0}],
        [{}, {"inner_radius_mm": 20.0}],
        [{}, {"first_angle_deg": 0}],
        [{}, {"z_mm": [0.0]}],
    ],
)
def test_what_has_room_is_not(ring, changes):
    assert list(layout.problems(of(ring, *changes))) == []


def test_efficiencies_are_read_and_dead_crystals_have_none(ring, tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("crystal,efficiency\n3,0.5\n1,0.25\n")
    scanner = replace(of(ring, {}), efficiencies=str(path), dead_crystals=[1, 7])
    kept = layout.efficiencies(scanner)
    assert kept[3] == 0.5 and kept[1] == kept[7] == 0 and kept.sum() == 24 - 3 + 0.5
    assert not scanner.is_even_ring


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("crystal,efficiency\n0,0\n", "got an efficiency of 0.0 for crystal 0"),
        ("crystal,efficiency\n0,nan\n", "got an efficiency of nan for crystal 0"),
        ("crystal,efficiency\n0,1.1\n", "got an efficiency of 1.1 for crystal 0"),
        ("crystal,efficiency\n24,0.5\n", "got crystal 24, expected each id from 0 to 23"),
        ("crystal,efficiency\n2,0.5\n2,0.6\n", "got crystal 2, .* at most once"),
        ("crystal,efficiency\n2,a\n", "expected a crystal's id and a number"),
        ("id,efficiency\n2,0.5\n", "expected rows with the columns crystal and efficiency"),
    ],
)
def test_bad_efficiencies_are_refused(ring, tmp_path, text, sentence):
    path = tmp_path / "e.csv"
    path.write_text(text)
    scanner = replace(of(ring, {}), efficiencies=str(path))
    with pytest.raises(InputError, match=sentence):
        layout.efficiencies(scanner)
    assert len(list(layout.problems(scanner))) == 1


def test_a_missing_file_and_unknown_ids_are_refused(ring):
    for change, sentence in (
        ({"efficiencies": "no.csv"}, "scanner.efficiencies: got no.csv, expected a CSV file"),
        ({"dead_crystals": [24]}, "scanner.dead_crystals: got 24, expected ids from 0 to 23"),
    ):
        with pytest.raises(InputError, match=sentence):
            layout.efficiencies(replace(of(ring, {}), **change))
