import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.reconstruct import calibration, figures
from tubepet.reconstruct.scanner import geometry, lors
from tubepet.reconstruct.scanner.lors import Cylinder
from tubepet.types import Listmode

SOURCE = Cylinder(9.0, -12.0, 12.0)


def test_efficiency_of_a_gap_free_detector(scanner, simulate, cylinder_points):
    """Cells larger than the faces: the efficiency must be the square of the ratio of areas.

    An absolute check of the étendue formula by straight lines from points.
    """
    rng, num = np.random.default_rng(11), 400_000
    events = simulate(cylinder_points(num, 9.0, 12.0, rng), rng)
    found = calibration.fit_efficiency(events, scanner, SOURCE, num, "events")
    width_mm = 2 * np.pi * geometry.detection_radius_mm(scanner) / scanner.num_columns
    face_mm2 = scanner.crystal_width_mm * scanner.crystal_height_mm
    expected = (width_mm * scanner.axial_pitch_mm / face_mm2) ** 2
    weights = found.unit_counts / found.unit_counts.sum()
    mean = (weights * np.outer(found.by_step, found.by_difference)).sum()
    # 1e5 counts; crystals of 4 mm and a source of 9 mm: cos and 1/d^2 at the crystal's centre
    # stand for their means, about 1 %
    assert mean == pytest.approx(expected, rel=0.015)
    # this detector has no wedges, but the shape over the distance is traced through real ones
    by_step = (weights.sum(axis=1) * found.by_step).sum()
    assert np.allclose(found.by_difference[:6] * by_step, expected, rtol=0.08)
    figures.draw_calibration(found, geometry.axis_distances_mm(scanner))


def test_expected_counts_follow_the_sum_over_pairs(scanner):
    """One sub-line: the table must equal a plain sum over a list of events, one per pair."""
    distance, middle, slope = lors.of_scanner(scanner)
    per_pair = calibration.expected_counts(scanner, SOURCE, 1.0)
    volume = np.pi * 81 * 24
    half = scanner.num_rings * scanner.axial_pitch_mm / 2
    # counts per decay cannot exceed the solid angle of the rings, seen from the centre, over the
    # squared ratio of cell and face
    width_mm = 2 * np.pi * geometry.detection_radius_mm(scanner) / scanner.num_columns
    packing = (16 / (width_mm * scanner.axial_pitch_mm)) ** 2
    fraction = half / np.hypot(half, geometry.detection_radius_mm(scanner))
    assert 0.5 * fraction * packing < per_pair.sum() / volume < fraction * packing
    assert per_pair.shape == (scanner.num_columns // 2 + 1, scanner.num_rings)
    assert distance.shape[0] == per_pair.shape[0] and middle.shape[1:] == slope.shape[1:]


def test_expected_counts_by_random_lines(scanner, simulate, cylinder_points):
    """An efficiency that makes cells of faces: what straight lines from the source are counted."""
    rng, num = np.random.default_rng(5), 400_000
    source = Cylinder(8.0, -5.0, 5.0)  # its ends lie between rings
    events = simulate(cylinder_points(num, 8.0, 5.0, rng), rng)
    width_mm = 2 * np.pi * geometry.detection_radius_mm(scanner) / scanner.num_columns
    cells = (width_mm * scanner.axial_pitch_mm / 16) ** 2
    expected = calibration.expected_counts(scanner, source, num / (np.pi * 64 * 10)).sum() * cells
    # 0.3 % from 1e5 counts, crystals' centres for their means 1 %; one line per pair: 5 % too many
    assert expected == pytest.approx(len(events), rel=0.015)


def test_too_few_coincidences_are_refused(scanner):
    none = np.zeros(0, np.int32)
    empty = Listmode(none, none, np.zeros(0), np.zeros(0, np.uint8))
    with pytest.raises(InputError, match=r"coincidences.root: got 0 .*calibration_decays"):
        calibration.fit_efficiency(empty, scanner, SOURCE, 1.0, "coincidences.root")
