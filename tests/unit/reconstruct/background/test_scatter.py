import dataclasses
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.integrate import quad

from tubepet import constants, io
from tubepet.errors import InputError
from tubepet.reconstruct import acquisition
from tubepet.reconstruct.background import detection as seen
from tubepet.reconstruct.background import kernels, nodes, paths, scatter
from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.projection.kernels import use_threads
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
    return seen.detection_table(scanner)


@pytest.fixture(scope="module")
def rate(water, instrument, detection):
    ones = Volume(np.ones(water.grid.shape), water.grid)
    return scatter.moments(scatter.scene(ones, water, instrument, detection, 1))[0]


@pytest.mark.parametrize("energy", [0.6, 1.0])
def test_scattering_angles_add_up_to_one(energy):
    totals = seen.klein_nishina_total(np.maximum(np.arange(512.0), 1.0))
    totals /= totals[511]

    def per_cosine(cosine):
        per_sr, _ = kernels.klein_nishina(cosine, energy, totals)
        turned = 1 - cosine
        return 2 * np.pi * per_sr * (turned + kernels.BOUND) / turned  # free electrons

    whole, _ = quad(per_cosine, -1, 1)
    assert whole == pytest.approx(1, rel=1e-3)  # totals come in steps of 1 keV


def test_total_cross_section_is_the_tabulated_one():
    # 0.2866 barn per electron at 511 keV (Hubbell 1975), r_e^2 = 0.07941 barn
    assert 0.07941 * float(seen.klein_nishina_total(511.0)) == pytest.approx(0.2866, rel=1e-3)


def test_energies_below_the_window_are_not_detected(scanner):
    """In a ring of ordinary size: the small one of the other tests has wide wedges."""
    ring = dataclasses.replace(scanner, num_rings=64, num_columns=184, inner_radius_mm=125.0)
    detection = seen.detection_table(ring)
    assert (detection[:, 0] < 0.01 * detection.max()).all()
    assert (detection[:, -1] < 1).all()  # most scatter in the crystals leaves less than 350 keV
    # the longer the way through the crystals, the more is seen, of hard photons most
    gain = detection[-1] / detection[0]
    assert gain[-1] > 1.1 and gain[-1] > gain[-8] > 1


def test_a_calibration_holds_the_table(detection, tmp_path):
    io.write_json(tmp_path / "c.json", {"seen_kev": detection.tolist()})
    assert (seen.of_calibration("c.json", io.read_json(tmp_path / "c.json")) == detection).all()
    assert seen.of_calibration("c.json", {"by_step": [1.0]}) is None  # of an older version


@pytest.mark.parametrize("rows", [[], "x", [[1.0] * 17] * 15, [[10**400]], [[-1.0] * 17] * 16])
def test_a_damaged_table_is_refused(rows):
    with pytest.raises(InputError, match=r"c\.json: seen_kev: expected 16 rows of 17 numbers >= 0"):
        seen.of_calibration("c.json", {"seen_kev": rows})


def test_a_table_that_sees_no_annihilation_photon_is_refused():
    rows = [[1.0] * 16 + [0.0]] * 16
    with pytest.raises(InputError, match=r"seen_kev: expected the last number of each row > 0"):
        seen.of_calibration("c.json", {"seen_kev": rows})


def tube(bore_mm, wall_mm, length_mm, voxel_mm):
    """Water in aluminium, and its activity."""
    num = 2 * int(bore_mm + wall_mm + 2)
    shape = round(length_mm / voxel_mm[0]), num, num
    grid = Grid.centred(shape, voxel_mm)
    _, y, x = grid.axes_mm()
    radius_mm = np.hypot(y[:, None], x)
    mu = np.where(radius_mm < bore_mm, 0.0096, 0.0227) * (radius_mm < bore_mm + wall_mm)
    ones = np.broadcast_to(radius_mm < bore_mm, shape).astype(float)
    return Volume(ones, grid), Volume(np.broadcast_to(mu, shape).copy(), grid)


def test_points_stand_for_all_attenuation(water):
    points, weight_mm2 = paths.scatter_points(water, 100)
    net = seen.attenuation_per_mm(water.array).sum() * 8.0
    assert len(points) * weight_mm2 == pytest.approx(net)
    assert np.allclose(points.mean(axis=0), 0, atol=0.5)  # a quarter voxel


def test_few_points_fill_a_tube_as_many_do():
    """100 slices: every n-th voxel in the order of the array lay on six rows of 250 points."""
    _, mu = tube(15, 4, 50, (0.5, 1.0, 1.0))
    points, _ = paths.scatter_points(mu, 250)
    weights = seen.attenuation_per_mm(mu.array)
    borders_mm = np.arange(-25.0, 26.0)  # of voxels
    for axis, centres_mm in enumerate(mu.grid.axes_mm()[::-1]):
        sums = weights.sum(axis=tuple({0, 1, 2} - {2 - axis}))
        exact = [sums[centres_mm < border].sum() / sums.sum() for border in borders_mm]
        share = (points[:, axis, None] < borders_mm).mean(axis=0)
        # the largest gap between the two distributions; 250 random points: about 0.05
        assert np.abs(share - exact).max() < 0.025


def test_few_points_scatter_as_many_do(instrument, detection):
    """Bore 15 mm, wall 4 mm, length 50 mm: 250 points in the order of the array gave 0.80."""
    activity, mu = tube(15, 4, 50, (0.5, 1.0, 1.0))
    few, usual, many = (
        scatter.lor_counts(
            scatter.moments(scatter.scene(activity, mu, instrument, detection, 1), num)[0],
            instrument.scanner,
        ).sum()
        for num in (acquisition.SCATTER_POINTS[0], paths.NUM_POINTS, 1024)
    )
    assert usual == pytest.approx(many, rel=0.015)  # measured: 0.4 %
    assert few == pytest.approx(many, rel=0.05)  # serves a draft only


def test_symmetric_objects_scatter_symmetrically(instrument, detection):
    activity, mu = tube(9, 3, 24, (1.0, 1.0, 1.0))
    rate = scatter.moments(scatter.scene(activity, mu, instrument, detection, 1))[0]
    by_kind = scatter.lor_counts(rate, instrument.scanner)
    by_ring = by_kind.sum(axis=(0, 1))
    # 128 points: 2 % from ring to ring
    assert np.allclose(by_ring, by_ring[::-1], rtol=0.04)
    by_column = rate.sum(axis=(1, 2, 3))
    assert np.allclose(by_column, by_column.mean(), rtol=0.04)


def test_thin_objects_scatter_once(scanner, water, detection, instrument):
    """Half of a small attenuation: half of the single scatter, a quarter of the double."""
    ones = Volume(np.ones(water.grid.shape), water.grid)
    ends = paths.ring_ends(scanner, np.arange(0, scanner.num_crystals, 7))
    totals = []
    for mu in (
        water,
        Volume(water.array / 1000, water.grid),
        Volume(water.array / 2000, water.grid),
    ):
        scene = paths.Scene(ones, mu, scanner, instrument.efficiency, detection, 1)
        points, weight_mm2 = paths.scatter_points(mu, 64)
        found = paths.legs(scene, points, ends)
        totals.append(
            [
                part[0].sum()
                for part in (
                    paths.single(scene, points, weight_mm2, found),
                    paths.multiple(scene, points, weight_mm2, found, ends),
                )
            ]
        )
    thick, thin, thinner = totals
    assert thick[1] > 0.01 * thick[0]
    assert thin[1] < 1e-4 * thin[0]
    assert thin[0] / thinner[0] == pytest.approx(2, rel=1e-3)
    assert thin[1] / thinner[1] == pytest.approx(4, rel=1e-3)


def test_chains_by_plain_loops():
    """Two and three points, random numbers for all that is known: every path added up on paper."""
    random = np.random.default_rng(3)

    def ways(*shape):
        found = random.normal(size=(*shape, 3)) + np.array([0.0, 0.0, 3.0])
        return found / np.linalg.norm(found, axis=-1, keepdims=True)

    detected = np.tile(np.linspace(0, 1, 512), (2, 1)) * [[1.0], [0.9]]
    totals = np.linspace(2.0, 1.0, 512)

    def turn(before, after, energy):
        per_sr, left = kernels.klein_nishina(float(before @ after), energy, totals)
        return per_sr, left, round(511 * left)

    for num_segments in (1, 2):
        chain_ways, segments = ways(1, num_segments), random.uniform(0.1, 1, (1, num_segments, 6))
        away1, away2 = -ways(1, 3), ways(1, 3)
        legs1, legs2 = random.uniform(0.1, 1, (2, 1, 3, 6))
        legs1[..., kernels.OBLIQUITY], legs2[..., kernels.OBLIQUITY] = [0, 1, 0], [1, 0, 1]
        zero = np.zeros(1, np.int64)
        sums = kernels.multiple_sums(
            (chain_ways, segments, np.array([0.7]), zero, zero), (away1, legs1, away2, legs2),
            detected, totals, 3,
        )  # fmt: skip
        expected = np.zeros((2, 3, 3))
        depths, lengths = segments[0, :, kernels.DEPTH], segments[0, :, kernels.LENGTH]
        for a in range(3):
            for b in range(3):
                # vertices from a to b; the annihilation on way m of num_segments + 2
                whole = [-away1[0, a], *chain_ways[0], away2[0, b]]
                for m in range(num_segments + 2):
                    value, row = 0.7, (int(legs1[0, a, 5]), int(legs2[0, b, 5]))
                    sides = [
                        ([-w for w in whole[: m + 1][::-1]], depths[: max(m - 1, 0)][::-1]),
                        (whole[m:], depths[m:]),
                    ]
                    ends = (legs1[0, a], legs2[0, b])
                    for side, (path, passed) in enumerate(sides):
                        energy, place = 1.0, 511
                        for i in range(len(path) - 1):
                            per_sr, energy, place = turn(path[i], path[i + 1], energy)
                            value *= per_sr
                            if i < len(path) - 2:
                                softer = totals[place]
                                value *= softer * np.exp(-passed[i] * (softer - 1))
                        leg, scattered = ends[side], len(path) > 1
                        value *= leg[kernels.FACE] * np.exp(-leg[kernels.DEPTH] * totals[place])
                        value *= detected[row[side], place] if scattered else 1.0
                    if 0 < m < num_segments + 1:
                        value *= segments[0, m - 1, kernels.EMISSION]
                        before = lengths[: m - 1].sum() + segments[0, m - 1, kernels.TRAVEL]
                    else:
                        end = legs1[0, a] if m == 0 else legs2[0, b]
                        value *= end[kernels.EMISSION]
                        before = -end[kernels.TRAVEL]
                        if m > 0:
                            before = lengths.sum() - before
                    first = legs1[0, a, kernels.DISTANCE] + before
                    second = legs2[0, b, kernels.DISTANCE] + lengths.sum() - before
                    expected[0, a, b] += value
                    expected[1, a, b] += value * (first - second) / 2
        found = sums[:2]
        # paths seen from the far end are written into the other triangle
        both = [part + sign * part.T for part, sign in zip(found, (1, -1), strict=True)]
        wanted = [part + sign * part.T for part, sign in zip(expected, (1, -1), strict=True)]
        assert np.allclose(both, wanted, rtol=1e-9)


def test_scatter_is_linear_in_activity_and_symmetric(water, instrument, detection, rate):
    twos = Volume(np.full(water.grid.shape, 2.0), water.grid)
    twice = scatter.moments(scatter.scene(twos, water, instrument, detection, 1))[0]
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
    assert not scatter.moments(scatter.scene(ones, air, instrument, detection, 1)).any()


def test_times_spread_the_same_counts(scanner, water, instrument, detection):
    """Activity to the right of the water: positions integrate to the rate, mean on its side."""
    beside = np.zeros(water.grid.shape)
    beside[:, :, -1] = 1.0
    fixed = (Volume(beside, water.grid), water, instrument, detection)
    sums = scatter.moments(scatter.scene(*fixed, 3))
    assert np.allclose(sums[:1], scatter.moments(scatter.scene(*fixed, 1)), rtol=1e-12)
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
    legs = np.zeros((1, 2, 6))
    for column, values in {
        kernels.EMISSION: (5.0, 7.0), kernels.DEPTH: (0.1, 0.2), kernels.FACE: (2.0, 3.0),
        kernels.DISTANCE: (50.0, 40.0), kernels.TRAVEL: (3.0, 2.0), kernels.OBLIQUITY: (0, 1),
    }.items():  # fmt: skip
        legs[0, :, column] = values
    detected, totals = np.array([[0.25], [0.5]]) * np.ones(512), np.full(512, 1.5)
    totals[511] = 1.0
    shares = np.array([[1.0, 9.0]])
    sums, first, second = kernels.single_sums(away, legs, shares, detected, totals, 3)
    # half of the energy is left; Rayleigh scattering has none of such angles
    chance = 0.5**2 * (0.5 + 2 - 1) / 2 / float(seen.klein_nishina_total(511.0))
    chance *= 1 / (1 + kernels.BOUND)
    one = 0.5 * 5 * np.exp(-0.1 - 1.5 * 0.2)
    other = 0.25 * 7 * np.exp(-0.2 - 1.5 * 0.1)
    assert sums[0, 1] == pytest.approx(chance * 2 * 3 * (one + other), rel=1e-6)
    assert sums[1, 0] == pytest.approx(sums[0, 1])
    # half of 50 - 40 from the middle toward the far end, less or more what the activity lies off
    assert first[0, 1] == pytest.approx(chance * 6 * (one * (5 - 3) + other * (5 + 2)), rel=1e-6)
    assert first[1, 0] == pytest.approx(-first[0, 1])
    assert second[0, 1] == pytest.approx(chance * 6 * (one * 2**2 + other * 7**2), rel=1e-6)
    assert sums[0, 0] == 0  # straight back is below the window


def test_any_number_of_threads_gives_the_same(water, instrument, detection):
    ones = Volume(np.ones(water.grid.shape), water.grid)
    found = []
    for num in (1, 2):
        use_threads(num)
        found.append(scatter.moments(scatter.scene(ones, water, instrument, detection, 3)))
    assert np.array_equal(*found)


def as_table(scanner, efficiency):
    """Return the ring as a table of crystals, all of an efficiency."""
    table = crystals.of_scanner(scanner)
    return replace(table, efficiency=np.full(len(table), efficiency))


def test_pairs_of_any_crystals_scatter_as_those_of_the_ring(
    scanner, water, detection, instrument, monkeypatch
):
    """With the same efficiency of all legs the ring as a table is the ring."""
    monkeypatch.setattr(paths, "_leg_efficiency", lambda _, __, ___, cosine: 0 * cosine + 0.5)
    ones = Volume(np.ones(water.grid.shape), water.grid)
    ring = scatter.moments(scatter.scene(ones, water, instrument, detection, 3))
    first, second = np.random.default_rng(1).integers(scanner.num_crystals, size=(2, 500))
    events = Listmode(first, second, np.zeros(500), np.zeros(500, np.uint8))
    expected = np.array([scatter.event_counts(part, events, scanner) for part in ring])
    table = Instrument(scanner, as_table(scanner, 0.5), water)
    found = scatter.pair_moments(scatter.scene(ones, water, table, detection, 3), (first, second))
    # the ring's splines of several points go through those of one point: 1e-3 of the largest
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-3, atol=2e-3 * np.abs(two).max())
    assert (expected[0] > 0.2 * expected[0].max()).sum() > 100


def test_scatter_of_modules_is_that_of_every_crystal(scanner, detection, monkeypatch):
    """Splines between some crystals of each block, against all crystals by themselves."""
    block = {
        "around": 8, "first_angle_deg": 10, "inner_radius_mm": 40.0, "z_mm": [-12.0, 12.0],
        "columns": 6, "rings": 4, "crystal_width_mm": 4.0, "crystal_height_mm": 4.0,
        "crystal_depth_mm": 12.0, "pitch_width_mm": 4.4, "pitch_height_mm": 5.0,
    }  # fmt: skip
    blocks = replace(scanner, modules=[block], min_transaxial_distance_mm=20.0)
    table = crystals.of_scanner(blocks)
    efficiency = np.random.default_rng(4).uniform(0.2, 0.6, len(table))
    table = replace(table, efficiency=efficiency, angle_terms=np.array([-0.3, -0.5, 0, 0, 0.1]))
    activity, mu = tube(9, 3, 24, (1.0, 1.0, 1.0))
    instrument = Instrument(blocks, table, activity)
    pairs = np.random.default_rng(2).integers(len(table), size=(2, 4000))
    pairs = tuple(ends[crystals.is_coincidence(table, *pairs)] for ends in pairs)
    found = scatter.pair_moments(scatter.scene(activity, mu, instrument, detection, 3), pairs)
    every = np.arange(len(table)), sparse.csr_array(np.eye(len(table)))
    monkeypatch.setattr(nodes, "of_scanner", lambda *_: every)
    exact = scatter.pair_moments(scatter.scene(activity, mu, instrument, detection, 3), pairs)
    # measured: 0.3 % of the total, 3 % of a pair, for nodes that are 6 and 12 mm apart
    assert found[0].sum() == pytest.approx(exact[0].sum(), rel=6e-3)
    off = found[0] / (efficiency[pairs[0]] * efficiency[pairs[1]])
    whole = exact[0] / (efficiency[pairs[0]] * efficiency[pairs[1]])
    assert np.sqrt(((off - whole) ** 2).mean()) < 0.05 * whole.mean()
    assert np.sqrt(((found - exact)[1] ** 2).mean()) < 0.02 * np.abs(exact[1]).max()


def test_crystals_between_nodes_are_met_exactly_by_what_is_smooth(scanner):
    """Places of crystals are linear within modules, and smooth around a ring."""
    block = {
        "around": 3, "first_angle_deg": 10, "inner_radius_mm": 40.0, "z_mm": [-12.0, 12.0],
        "columns": 9, "rings": 5, "crystal_width_mm": 4.0, "crystal_height_mm": 4.0,
        "crystal_depth_mm": 12.0, "pitch_width_mm": 4.4, "pitch_height_mm": 4.4,
    }  # fmt: skip
    small = block | {"inner_radius_mm": 60.0, "columns": 1, "rings": 3}
    for one, error_mm in ((replace(scanner, modules=[block, small]), 1e-9), (scanner, 0.02)):
        points_mm = crystals.of_scanner(one).points_mm
        for stride in (1, 2):
            ids, weights = nodes.of_scanner(one, stride)
            assert len(ids) < len(points_mm)
            np.testing.assert_allclose(weights.sum(axis=1), 1)
            assert np.abs(weights @ points_mm[ids] - points_mm).max() < error_mm
