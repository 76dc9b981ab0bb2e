import numpy as np
import pytest
from tests.unit.reconstruct.conftest import listmode

from tubepet.errors import InputError
from tubepet.reconstruct import sources
from tubepet.reconstruct.problem import Acquisition
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry

FWHM_MM = 3.2  # half a crystal of 6.2 mm across the small scanner


@pytest.fixture(scope="module")
def efficiency(scanner):
    """Return counts per Bq/mm3: a gap-free detector, so that `simulate` fits."""
    width_mm = 2 * np.pi * geometry.detection_radius_mm(scanner) / scanner.num_columns
    ratio = width_mm * scanner.axial_pitch_mm / scanner.crystal_width_mm / scanner.crystal_height_mm
    return np.full((scanner.num_columns // 2 + 1, scanner.num_rings), ratio**2)


@pytest.fixture(scope="module")
def seen(scanner, grid, efficiency):
    return sensitivity.geometric_sensitivity(scanner, grid, efficiency)


@pytest.fixture(scope="module")
def measured(scanner, simulate, efficiency, grid, seen):
    """Return a function: places of decays, numbers of trues and randoms -> the acquisition."""

    def make(points_mm, num_true, num_random, rng):
        events = simulate(points_mm, rng)
        first, second = (c[:num_true] for c in (events.crystal1, events.crystal2))
        assert len(first) == num_true
        columns = rng.integers(0, scanner.num_columns, num_random)
        step = scanner.num_columns // 2 + rng.integers(-8, 9, num_random)
        rings = rng.integers(0, scanner.num_rings, (2, num_random)) * scanner.num_columns
        first = np.append(first, columns + rings[0]).astype(np.int32)
        second = np.append(second, (columns + step) % scanner.num_columns + rings[1])
        points = geometry.crystal_points_mm(scanner)
        second = second.astype(np.int32)
        # randoms are equally frequent on all pairs of those columns, 17 steps found from both ends
        per_pair = max(num_random, 1e-3) / (scanner.num_columns * 17 / 2 * scanner.num_rings**2)
        areas = geometry.lor_areas_mm2(scanner, efficiency)
        events = listmode(first, second)
        ring1, ring2 = geometry.rings(events, scanner)
        scale = areas[geometry.column_steps(events, scanner), np.abs(ring1 - ring2)]
        lines = Lines(grid, points, first, second, per_pair / scale)
        return Acquisition(lines, seen, np.ones(grid.shape))

    return make


def test_sixty_counts_place_a_point(measured):
    """Twelve measurements of 60 counts and 20 % randoms."""
    pulls, errors = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        place = rng.uniform(-6, 6, 3)
        found = sources.locate(measured(np.tile(place, (2000, 1)), 60, 12, rng), FWHM_MM)
        assert found.verdict == "point"
        error = found.ends_mm[0] - place
        errors.append(np.linalg.norm(error))
        pulls.extend(error / found.errors[:3])
    assert np.median(errors) < 1.0
    # crystals are no Gaussians and their centres repeat: the covariance is good to a factor of two
    assert 0.5 < np.sqrt(np.mean(np.square(pulls))) < 2.0


def test_activity_is_absolute(measured, simulate):
    rng = np.random.default_rng(1)
    place = np.array([2.0, -3.0, 1.0])
    events = simulate(np.tile(place, (3000, 1)), rng)
    model = measured(np.tile(place, (3000, 1)), len(events), 10, np.random.default_rng(1))
    found = sources.locate(model, FWHM_MM)
    # 3000 decays in one second; 4 % of counting, the rest is crystals as points
    assert found.activity_bq == pytest.approx(3000, rel=0.15)
    assert found.errors[-1] < 0.1 * found.activity_bq


def test_randoms_alone_are_unresolved(measured):
    verdicts = []
    for seed in range(20):
        model = measured(np.zeros((100, 3)), 0, 60, np.random.default_rng(seed))
        verdicts.append(sources.locate(model, FWHM_MM).verdict)
    assert verdicts.count("unresolved") >= 19


def test_a_line_is_found_with_its_ends(measured):
    rng = np.random.default_rng(5)
    ends = np.array([[-6.0, -2.0, -4.0], [5.0, 3.0, 4.0]])
    places = ends[0] + rng.uniform(size=(20_000, 1)) * (ends[1] - ends[0])
    found = sources.locate(measured(places, 800, 100, rng), FWHM_MM)
    assert found.verdict == "line"
    got = found.ends_mm[np.argsort(found.ends_mm[:, 0])]
    assert np.abs(got - ends).max() < 1.0


def test_three_counts_are_unresolved(measured):
    few = measured(np.zeros((100, 3)), 3, 0, np.random.default_rng(0))
    assert sources.locate(few, FWHM_MM).verdict == "unresolved"
    too_many = measured(np.zeros((100, 3)), 0, sources.MAX_LINES + 1, np.random.default_rng(0))
    with pytest.raises(InputError, match="got 20001 counts, expected at most 20000: make an image"):
        sources.locate(too_many, FWHM_MM)


def test_sentences():
    ends, errors = np.array([[1.0, 2.0, 3.0]]), np.array([0.1, 0.2, 0.3, 12.0])
    found = sources.Source("point", ends, 345.6, errors, 50.0, 20.0)
    expected = "a point source at (1.0, 2.0, 3.0) mm, each coordinate +- 0.2 mm, 346 +- 12 Bq"
    assert sources.as_dict(found)["sentence"] == expected
