"""The fast engine piece by piece, against formulas and slow references, and as a whole."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubepet import io, layout
from tubepet.errors import InputError
from tubepet.simulate import sources
from tubepet.simulate.coincidences import RANDOM, read_coincidences
from tubepet.simulate.fast import kernels, setup, tables, transport
from tubepet.types import Grid, Volume

GRID = Grid.centred((8, 10, 12), (2.0, 2.0, 2.0))
DELAY_NS = 500.0


@pytest.fixture(scope="module")
def photons():
    return tables.photons()


@pytest.fixture(scope="module")
def block():
    """Water with activity in one corner of an aluminium block, air around."""
    labels, activity = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.float32)
    labels[1:7, 1:9, 1:11] = 2
    labels[2:5, 2:5, 2:5], activity[2:5, 2:5, 2:5] = 1, 3.0
    activity[3, 3, 3] = 9.0
    return Volume(labels, GRID), Volume(activity, GRID)


def singles(batches):
    """All coincidences as one array, first and second single side by side."""
    return np.concatenate(
        [np.concatenate([*b.prompts.first, *b.prompts.second], 1) for b in batches]
    )


def run(block, photons, scanner, seed=5, num_threads=1, decays=3e5, activity_bq=1e7):
    what = setup.tube(*block, scanner, photons)
    return list(
        transport.batches(
            what,
            photons,
            activity_bq,
            decays / activity_bq,
            scanner,
            DELAY_NS,
            seed,
            num_threads,
            "cpu",
        )
    )


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=40).filter(lambda w: sum(w) > 1e-3))
@settings(deadline=None)
def test_alias_table_holds_its_weights(weights):
    weights = np.array(weights)
    threshold, alias = setup.alias_table(weights)
    held = threshold.copy()
    np.add.at(held, alias, 1 - threshold)
    np.testing.assert_allclose(held / len(weights), weights / weights.sum(), atol=1e-12)


def test_random_numbers_are_uniform_exponential_and_normal():
    state = kernels.random_state(1, 2)
    draws = np.array([kernels.uniform(state) for _ in range(20000)])
    assert abs(draws.mean() - 0.5) < 5 * math.sqrt(1 / 12 / 20000)
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 0.035
    normals = np.array([kernels.normals(state) for _ in range(20000)]).ravel()
    assert abs(normals.mean()) < 0.025 and abs(normals.var() - 1) < 0.04
    first = {kernels.random_state(seed, i)[0] for seed in range(40) for i in range(40)}
    assert len(first) == 1600


@given(st.floats(0, 1, exclude_max=True))
@settings(deadline=None)
def test_circle_is_sine_and_cosine(turn):
    sine, cosine = kernels.circle(turn)
    assert sine == pytest.approx(math.sin(2 * math.pi * turn), abs=1e-8)
    assert cosine == pytest.approx(math.cos(2 * math.pi * turn), abs=1e-8)


def test_deflection_keeps_the_angle_and_the_length():
    state = kernels.random_state(3, 0)
    for u in np.random.default_rng(1).normal(size=(200, 3)):
        u /= np.linalg.norm(u)
        turned = np.array(kernels.deflect(*u, 0.3, state))
        assert turned @ u == pytest.approx(0.3, abs=1e-12)
        assert turned @ turned == pytest.approx(1, abs=1e-8)  # the series of circle


@pytest.mark.parametrize("energy_kev", [30.0, 150.0, 340.0, 511.0])
def test_klein_nishina_moments(monkeypatch, energy_kev):
    """Without binding: mean and variance of the cosine, drawn and integrated."""
    monkeypatch.setattr(tables.xraylib, "SF_Compt", lambda z, q: 1.0)
    table = tables._cosines(tables.MATERIALS[1], "compton").astype(np.float32)[None, None]
    state = kernels.random_state(4, 0)
    drawn = np.array(
        [kernels.angle_cosine(table, kernels.COMPTON, 0, energy_kev, state) for _ in range(40000)]
    )
    cosine = np.linspace(-1, 1, 20001)
    density = tables.klein_nishina(energy_kev, cosine)
    density /= density.sum()
    mean = (density * cosine).sum()
    variance = (density * cosine**2).sum() - mean**2
    assert drawn.mean() == pytest.approx(mean, abs=5 * math.sqrt(variance / 40000))
    assert drawn.var() == pytest.approx(variance, rel=0.03)


def test_binding_turns_photons_away_from_forward(photons):
    row = int(60 / tables.ANGLE_STEP_KEV)
    free = tables.klein_nishina(60.0, np.linspace(-1, 1, 20001))
    mean = (free * np.linspace(-1, 1, 20001)).sum() / free.sum()
    assert photons.cosine[0, tables.CRYSTAL, row].mean() < mean


def test_attenuation_of_511_kev_is_that_of_the_references(photons):
    mu = photons.mu_per_mm[:, 511].sum(axis=1)
    # NIST: 0.0096 and 0.0227 per mm; Geant4's Compton fit is 0.6 % above
    assert mu[1] == pytest.approx(0.00959, rel=0.01)
    assert mu[2] == pytest.approx(0.02259, rel=0.01)
    assert mu[3] == pytest.approx(0.0818, rel=0.01)


def test_free_path_is_exponential(photons, scanner):
    """Survivors of 10 mm of aluminium, seen by what in_box returns."""
    grid = Grid.centred((4, 4, 4), (5.0, 5.0, 5.0))
    labels = Volume(np.full(grid.shape, 2, np.uint8), grid)
    _, box = setup.tube(labels, Volume(np.ones(grid.shape, np.float32), grid), scanner, photons)
    state, num, untouched = kernels.random_state(6, 0), 20000, 0
    for _ in range(num):
        out = kernels.in_box(
            0.0, 0.0, 0.0, 0.6, 0.0, 0.8, tables.ELECTRON_KEV, box, photons.cosine, 0.0, state
        )
        untouched += out[0] and out[9] + out[10] == 0
    mu = photons.mu_per_mm[2, 511].sum()
    expected = math.exp(-mu * 10.0 / 0.8)
    assert untouched / num == pytest.approx(expected, abs=5 * math.sqrt(0.25 / num))


def slow_crystal(scanner, x, y, z):
    """Try every crystal's box: the crystal, and the way to its next face."""
    for column in range(scanner.num_columns):
        turn = 2 * math.pi * column / scanner.num_columns
        depth = x * math.cos(turn) + y * math.sin(turn) - scanner.inner_radius_mm
        side = y * math.cos(turn) - x * math.sin(turn)
        across = min(
            depth, scanner.crystal_depth_mm - depth, scanner.crystal_width_mm / 2 - abs(side)
        )
        if across > 0:
            for ring in range(scanner.num_rings):
                middle = (ring - (scanner.num_rings - 1) / 2) * scanner.axial_pitch_mm
                along = scanner.crystal_height_mm / 2 - abs(z - middle)
                if along > 0:
                    return ring * scanner.num_columns + column, min(across, along)
    return -1, 0.0


@pytest.mark.parametrize("width_mm", [4.0, 4.26])  # 4.26: hardly a gap, where a fast atan slips
def test_crystals_are_found_exactly(scanner, photons, width_mm):
    narrow = dataclasses.replace(scanner, crystal_width_mm=width_mm)
    ring = setup.ring(narrow, photons)
    rng = np.random.default_rng(8)
    radius = rng.uniform(124, 147, 400)
    turn = np.concatenate([rng.uniform(0, 2 * np.pi, 200), rng.uniform(-1e-4, 1e-4, 200)])
    turn[200:] += (rng.integers(0, 184, 200) + 0.5) * 2 * np.pi / 184  # at the gaps
    z = rng.uniform(-137, 137, 400)
    points = np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1)
    found = [kernels.crystal_at(*point, ring) for point in points]
    wanted = [slow_crystal(narrow, *point) for point in points]
    assert [crystal for crystal, _ in found] == [crystal for crystal, _ in wanted]
    # rounding of coordinates of 150 mm
    np.testing.assert_allclose([mm for _, mm in found], [mm for _, mm in wanted], atol=1e-12)
    assert sum(crystal >= 0 for crystal, _ in found) > 100


def test_threads_and_seeds(block, photons, scanner):
    one, two = (singles(run(block, photons, scanner, num_threads=n)) for n in (1, 2))
    assert one.tobytes() == two.tobytes() and len(one) > 1e4
    assert one.tobytes() == singles(run(block, photons, scanner)).tobytes()
    assert one.tobytes() != singles(run(block, photons, scanner, seed=6)).tobytes()


def test_pairs_match_a_slow_search_over_batch_borders(block, photons, scanner, monkeypatch):
    """Cutting the same slices into batches differently loses and doubles nothing."""
    whole = singles(run(block, photons, scanner))
    monkeypatch.setattr(transport, "SLICES_PER_BATCH", {"cpu": 3})
    assert singles(run(block, photons, scanner)).tobytes() == whole.tobytes()
    times, crystal = np.array([0.0, 4.0, 9.0, 14.0, 30.0]), np.array([0, 92, 0, 93, 92])
    centres = layout.table(scanner).centres_mm
    fixed = (3600.0, centres[:, 0].copy(), centres[:, 1].copy())
    found = kernels.pairs(times, crystal, 5, 0.0, 10.0, *fixed)
    # 1 and 3 (92, 93) are neighbours; 0 and 2 the same crystal; 4 is late
    assert found.tolist() == [[0, 1], [1, 2], [2, 3]]
    # 26 and 30 ns after singles 1 and 0: only the window from 25 ns on sees them; 1 is a neighbour
    assert kernels.pairs(times, crystal, 5, 25.0, 10.0, *fixed).tolist() == [[0, 4]]


def test_the_delayed_window_counts_the_randoms(block, photons, scanner):
    found = run(block, photons, scanner, decays=1e6, activity_bq=3e7)
    randoms = sum(int((transport._truth(b.prompts) == RANDOM).sum()) for b in found)
    delayed = sum(len(b.delayed.first.counts) for b in found)
    assert randoms > 5000
    assert abs(delayed - randoms) < 5 * (delayed + randoms) ** 0.5  # 5 sigma of two Poisson counts


def test_emission_follows_the_activity(block, photons, scanner):
    found = singles(run(block, photons, scanner))
    x = found[:, kernels.X_MM]
    axis = GRID.axes_mm()[2][2:5]
    low, high = axis[0] - 1, axis[-1] + 1
    assert low <= x.min() and x.max() <= high
    # 27 voxels of 3 and one of 9 instead of 3: the middle slab has 11 of 29 parts
    share = np.mean(np.abs(x - axis[1]) < 1)
    assert share == pytest.approx(11 / 29, abs=0.02)


def test_file_reads_like_gates(tmp_path, block, photons, scanner):
    labels, activity = block
    io.write_volume(tmp_path / "l.nii.gz", labels)
    io.write_volume(tmp_path / "a.nii.gz", activity)
    source = sources.tube_source(tmp_path / "l.nii.gz", tmp_path / "a.nii.gz", GRID)
    for activity_bq, duration_s in ((1e6, 0.1), (600.0, 0.1), (0.0, 0.1)):
        path = tmp_path / "c.root"
        stats = transport.simulate(
            "t", source, activity_bq, duration_s, scanner, 3, 1, path, DELAY_NS, "cpu"
        )
        events = read_coincidences(path, scanner)
        expected = activity_bq * duration_s
        assert abs(stats["decays"] - expected) <= 5 * math.sqrt(expected)
        assert len(events) == stats["prompts"]
        counts = np.bincount(events.truth, minlength=4)
        assert counts.tolist() == [stats[k] for k in ("trues", "scatters", "randoms", "intrinsic")]
        assert abs(events.time_difference_ns).max(initial=0) <= scanner.coincidence_window_ns
    assert {p.name for p in tmp_path.iterdir()} == {"l.nii.gz", "a.nii.gz", "c.root"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lab, act: lab.__setitem__((0, 0, 0), 7), "labels: got 0 to 7"),
        (lambda lab, act: act.__setitem__((0, 0, 0), -1), "negative value or NaN"),
        (lambda lab, act: act.__setitem__((0, 0, 0), np.nan), "negative value or NaN"),
    ],
)
def test_bad_voxels_are_named(block, photons, scanner, change, message):
    labels, activity = (Volume(v.array.copy(), v.grid) for v in block)
    change(labels.array, activity.array)
    with pytest.raises(InputError, match=message):
        setup.tube(labels, activity, scanner, photons)


def test_a_phantom_outside_the_bore_is_refused(photons, scanner):
    grid = Grid.centred((1, 2, 2), (5.0, 100.0, 100.0))
    labels = Volume(np.ones(grid.shape, np.uint8), grid)
    with pytest.raises(InputError, match="inner_radius_mm"):
        setup.tube(labels, labels, scanner, photons)


def test_bad_protocols_are_refused(block, photons, scanner):
    with pytest.raises(InputError, match=r"are 2e\+12 decays"):
        run(block, photons, scanner, decays=2e12)
    upside_down = dataclasses.replace(scanner, energy_window_kev=(650, 350))
    with pytest.raises(InputError, match="low < high"):
        run(block, photons, upside_down)
    no_window = dataclasses.replace(scanner, coincidence_window_ns=0)
    with pytest.raises(InputError, match="coincidence_window_ns"):
        run(block, photons, no_window)
