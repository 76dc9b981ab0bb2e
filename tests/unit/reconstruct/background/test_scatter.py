from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad

from tubepet import constants
from tubepet.reconstruct.background import scatter
from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.projection import kernels
from tubepet.reconstruct.scanner import crystals, geometry, time_of_flight
from tubepet.types import Grid, Listmode, Volume


@pytest.fixture(scope="module")
def water():
    grid = Grid.centred((8, 10, 10), (2.0, 2.0, 2.0))
    return Volume(np.full(grid.shape, 0.0096), grid)


@pytest.fixture(scope="module")
def instrument(scanner, water):
    efficiency = np.full((scanner.num_columns // 2 + 1, scanner.num_rings), 0.25)
    return Instrument(scanner, efficiency, water)


@pytest.fixture(scope="module")
def detection(scanner):
    return scatter.detection_table(scanner)


@pytest.fixture(scope="module")
def rate(water, instrument, detection):
    ones = Volume(np.ones(water.grid.shape), water.grid)
    return scatter.moments(ones, water, instrument, detection, 1)[0]


@pytest.mark.parametrize("energy_kev", [300.0, 511.0])
def test_klein_nishina_integrates_to_its_total(energy_kev):
    def per_cosine(c):
        return 2 * np.pi * float(scatter.klein_nishina_per_sr(np.array(c), energy_kev))

    whole, _ = quad(per_cosine, -1, 1)
    assert float(scatter.klein_nishina_total(energy_kev)) == pytest.approx(whole, rel=1e-9)


def test_total_cross_section_is_the_tabulated_one():
    # 0.2866 barn per electron at 511 keV (Hubbell 1975), r_e^2 = 0.07941 barn
    assert 0.07941 * float(scatter.klein_nishina_total(511.0)) == pytest.approx(0.2866, rel=1e-3)


def test_energies_below_the_window_are_not_detected(detection):
    assert detection[0] < 0.01 * detection.max()
    assert 0 < detection[-1] < 1  # most scatter in the crystals leaves less than 350 keV


def test_points_stand_for_all_attenuation(water):
    points, weight_mm2 = scatter.scatter_points(water, 100)
    assert len(points) * weight_mm2 == pytest.approx(water.array.sum() * 8.0)
    assert np.allclose(points.mean(axis=0), 0, atol=1.0)  # half a voxel


def test_scatter_is_linear_in_activity_and_symmetric(water, instrument, detection, rate):
    twos = Volume(np.full(water.grid.shape, 2.0), water.grid)
    twice = scatter.moments(twos, water, instrument, detection, 1)[0]
    assert np.allclose(twice, 2 * rate)
    assert np.allclose(rate, rate.transpose(1, 0, 3, 2))
    assert rate.max() > 0


def test_every_pair_adds_up_to_the_kinds(scanner, rate):
    first, second = (i.astype(np.int32) for i in np.triu_indices(scanner.num_crystals, 1))
    events = Listmode(first, second, np.zeros(len(first)), np.zeros(len(first), np.uint8))
    is_allowed = geometry.is_allowed_step(scanner)[geometry.column_steps(events, scanner)]
    total = scatter.event_counts(rate, events, scanner)[is_allowed].sum()
    assert scatter.lor_counts(rate, scanner).sum() == pytest.approx(total)


def test_air_scatters_nothing(instrument, water, detection):
    air, ones = (Volume(np.full(water.grid.shape, value), water.grid) for value in (0.0, 1.0))
    assert not scatter.moments(ones, air, instrument, detection, 1).any()


def test_times_spread_the_same_counts(scanner, water, instrument, detection):
    """Activity to the right of the water: positions integrate to the rate, mean on its side."""
    beside = np.zeros(water.grid.shape)
    beside[:, :, -1] = 1.0
    fixed = (Volume(beside, water.grid), water, instrument, detection)
    sums = scatter.moments(*fixed, 3)
    assert np.allclose(sums[:1], scatter.moments(*fixed, 1), rtol=1e-12)
    positions_mm = np.linspace(-200, 200, 801)
    first = np.zeros(801, np.int32) + 5 * scanner.num_columns + scanner.num_columns // 2 - 1
    second = np.zeros(801, np.int32) + 5 * scanner.num_columns + 1
    times = -positions_mm / constants.MM_PER_NS
    events = Listmode(first, second, times, np.zeros(801, np.uint8))
    sigma_mm = time_of_flight.sigma_mm(scanner)
    density = scatter.event_densities(sums, events, scanner, sigma_mm)
    counts = scatter.event_counts(sums[0], events, scanner)
    assert density.sum() * 0.5 == pytest.approx(counts[0], rel=1e-6)  # seven sigma
    # the second end is at +x; photons start 9 mm from the axis, on the way from the scatter point
    mean_mm = (density * positions_mm).sum() / density.sum()
    assert 4.0 < mean_mm < 9.5


def test_sum_of_the_formula_by_hand():
    """Two ends at right angles around one point: every factor is known."""
    away = np.array([[[1.0, 0, 0], [0, 1.0, 0]]])
    faces, emission, depth = np.array([[2.0, 3.0]]), np.array([[5.0, 7.0]]), np.array([[0.1, 0.2]])
    chance, stretch = np.array([0.0, 0.25, 1.0]), np.array([3.0, 1.5, 1.0])  # cosines -1, 0, 1
    distance, travel = np.array([[50.0, 40.0]]), np.array([[3.0, 2.0]])
    fixed = (away, faces, emission, depth, chance, stretch)
    sums, first, second = kernels.scatter_sums(*fixed, distance, travel)
    one, other = 5 * np.exp(-0.1 - 1.5 * 0.2), 7 * np.exp(-0.2 - 1.5 * 0.1)
    assert sums[0, 1] == pytest.approx(0.25 * 2 * 3 * (one + other))
    assert sums[1, 0] == pytest.approx(sums[0, 1])
    # half of 50 - 40 from the middle toward the far end, less or more what the activity lies off
    assert first[0, 1] == pytest.approx(0.25 * 2 * 3 * (one * (5 - 3) + other * (5 + 2)))
    assert first[1, 0] == pytest.approx(-first[0, 1])
    assert second[0, 1] == pytest.approx(0.25 * 2 * 3 * (one * 2**2 + other * 7**2))
    assert sums[0, 0] == 0  # straight back is below the window


def test_pairs_of_any_crystals_scatter_as_those_of_the_ring(scanner, water, detection, instrument):
    """The ring as a table: the root of the pair efficiency is each crystal's."""
    table = crystals.of_scanner(scanner)
    table = replace(table, efficiency=np.full(len(table), 0.5))
    ones = Volume(np.ones(water.grid.shape), water.grid)
    ring = scatter.moments(ones, water, instrument, detection, 3)
    rings = scatter.coarse_rings(scanner)
    first, second = rings[2] * scanner.num_columns + 4, rings[[5, 1]] * scanner.num_columns + 28
    pairs = np.array([first, first]), second
    found = scatter.pair_moments(ones, water, table, detection, pairs, 3)
    expected = ring[:, 4, 28, 2][:, [5, 1]]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * expected[0].max())
