import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from tubepet.reconstruct.scanner import geometry
from tubepet.types import Listmode, Scanner

scanners = st.builds(
    lambda rings, columns, radius, least: Scanner(
        rings,
        columns,
        radius,
        20.0,
        4.0,
        4.0,
        4.2,
        0.15,
        300.0,
        (350.0, 650.0),
        10.0,
        least * radius,
    ),
    rings=st.integers(1, 6),
    columns=st.integers(5, 30),
    radius=st.floats(30.0, 200.0),
    least=st.floats(0.0, 1.5),
)


def pairs_of(scanner: Scanner) -> Listmode:
    pairs = np.array(list(itertools.combinations(range(scanner.num_crystals), 2)), np.int32)
    return Listmode(pairs[:, 0], pairs[:, 1], np.zeros(len(pairs)), np.zeros(len(pairs), np.uint8))


def test_mean_depth_is_the_mean_of_the_truncated_exponential():
    mu = geometry.LYSO_ATTENUATION_PER_MM
    norm = quad(lambda t: np.exp(-mu * t), 0, 20)[0]
    mean = quad(lambda t: t * np.exp(-mu * t), 0, 20)[0] / norm
    assert geometry.mean_interaction_depth_mm(20.0) == pytest.approx(mean, rel=1e-12)
    assert geometry.mean_interaction_depth_mm(1e-3) == pytest.approx(0.5e-3, rel=1e-4)


@given(scanners)
@settings(max_examples=30)
def test_crystal_and_position_round_trip(scanner):
    points = geometry.crystal_points_mm(scanner)
    column = np.rint(np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) * scanner.num_columns)
    ring = np.rint(points[:, 2] / scanner.axial_pitch_mm + (scanner.num_rings - 1) / 2)
    crystal = ring * scanner.num_columns + column % scanner.num_columns
    assert np.array_equal(crystal, np.arange(scanner.num_crystals))
    assert points[0, 0] > 0 and abs(points[0, 1]) < 1e-9  # column 0 on +x
    assert points[1, 1] > 0  # counter-clockwise seen from +z
    assert np.allclose(points.mean(axis=0), 0, atol=1e-9)


@given(scanners)
@settings(max_examples=30)
def test_allowed_pairs_and_areas_equal_those_of_all_pairs_one_by_one(scanner):
    events = pairs_of(scanner)
    step, (ring1, ring2) = geometry.column_steps(events, scanner), geometry.rings(events, scanner)
    swapped = dataclasses.replace(events, crystal1=events.crystal2, crystal2=events.crystal1)
    assert np.array_equal(step, geometry.column_steps(swapped, scanner))

    points = geometry.crystal_points_mm(scanner)
    middle_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    centres = points[:, :2] * (middle_mm / geometry.detection_radius_mm(scanner))
    distance_mm = np.linalg.norm(centres[events.crystal1] - centres[events.crystal2], axis=1)
    least_mm = scanner.min_transaxial_distance_mm
    clear = (np.abs(distance_mm - least_mm) > 1e-6) & (distance_mm > 1e-6)  # rounding decides ties
    allowed = geometry.is_allowed_step(scanner)[step]
    assert np.array_equal(allowed[clear], distance_mm[clear] >= least_mm)

    efficiency = np.full((scanner.num_columns // 2 + 1, scanner.num_rings), 0.3)
    areas = geometry.lor_areas_mm2(scanner, efficiency)[step, np.abs(ring1 - ring2)]
    line = points[events.crystal2] - points[events.crystal1]
    length = np.linalg.norm(line, axis=1)
    normal = points * [1, 1, 0] / geometry.detection_radius_mm(scanner)
    cosines = [
        np.abs((line * normal[c]).sum(axis=1)) / length for c in (events.crystal1, events.crystal2)
    ]
    by_hand = 0.3 * 16.0**2 * cosines[0] * cosines[1] / length**2 / (2 * np.pi)
    assert np.allclose(areas, np.where(allowed, by_hand, 0), rtol=1e-9, atol=1e-12)

    number = np.bincount(step, minlength=len(geometry.num_column_pairs(scanner)))[1:]
    expected = geometry.num_column_pairs(scanner)[1:] * scanner.num_rings**2
    assert np.array_equal(number, expected)
    distances = np.linalg.norm(
        np.cross(points[events.crystal1] * [1, 1, 0], line * [1, 1, 0]), axis=1
    )
    across = step > 0
    distances[across] /= np.hypot(line[across, 0], line[across, 1])
    assert np.allclose(
        distances[across], geometry.axis_distances_mm(scanner)[step[across]], atol=1e-6
    )


def test_default_scanner_allows_pairs_14_columns_apart(root):
    """2 * 135 mm * sin(pi k / 184) passes 60 mm between k = 13 and k = 14."""
    import yaml

    config = yaml.safe_load((root / "config" / "config.yaml").read_text())
    allowed = geometry.is_allowed_step(Scanner(**config["scanner"]))
    assert not allowed[:14].any() and allowed[14:].all()
