"""176Lu in the crystals: emissions by hand, and singles and pairs of the fast engine."""

import json
import math
from importlib import resources

import numpy as np
import pytest
import uproot

from tubepet.simulate import sources
from tubepet.simulate.coincidences import INTRINSIC, RANDOM, SCATTER, TRUE, read_coincidences
from tubepet.simulate.fast import kernels, lutetium, setup, tables, transport
from tubepet.simulate.geant4 import gate
from tubepet.simulate.geant4 import lutetium as file_of_decays

NUM_DECAYS = 200_000
DELAY_NS = 500.0
SOURCE = sources.calibration_source(20, 1.0, 10, 1.0)


@pytest.fixture(scope="module")
def ring(scanner):
    return setup.ring(scanner, tables.photons())


@pytest.fixture(scope="module")
def emitted(ring):
    """Return decay, kind, energy (keV) and place of all particles of many decays."""
    decay, kind, found = kernels.emitted_by_lutetium(3, 0, NUM_DECAYS, lutetium.table(), ring)
    return decay, kind, found[:, 0], found[:, 1:]


def run(scanner, activity_bq, duration_s, num_threads=1, has_lutetium=True):
    photons = tables.photons()
    what = setup.cylinder(SOURCE["radius_mm"], SOURCE["length_mm"], scanner, photons)
    return list(
        transport.batches(
            what, photons, activity_bq, duration_s, scanner, DELAY_NS, 5, num_threads, "cpu",
            has_lutetium=has_lutetium,
        )
    )  # fmt: skip


def truths(batches):
    return sum(np.bincount(transport._truth(b.prompts), minlength=4) for b in batches)


def test_activity_by_hand(scanner):
    # 64 x 184 crystals of 0.32 cm3 and 7.1 g/cm3, Lu18 Y2 Si10 O50: 71.4 % lutetium, 174.97 g/mol,
    # 2.599 % of it 176Lu with a half-life of 3.713e10 years
    moles = 64 * 184 * 0.32 * 7.1 * 0.7145 / 174.97
    expected = moles * 6.022e23 * 0.02599 * math.log(2) / (3.713e10 * 3.15576e7)
    assert lutetium.activity_bq(scanner) == pytest.approx(expected, rel=1e-3)  # digits above
    # 250 to 310 Bq/cm3 is what data sheets of LYSO and LSO say
    assert 250 < lutetium.activity_bq(scanner) / (64 * 184 * 0.32) < 310


def test_energies_add_up(emitted):
    """All that is set free but the neutrino's part: a beta particle and the level's energy."""
    decay, kind, energy_kev, _ = emitted
    first = np.flatnonzero(np.diff(decay, prepend=-1))
    assert len(first) == NUM_DECAYS and (kind[first] == kernels.ELECTRON).all()
    rest_kev = np.bincount(decay, energy_kev) - energy_kev[first]
    is_upper = rest_kev > 700
    np.testing.assert_allclose(rest_kev[~is_upper], 306.84 + 201.83 + 88.36, atol=1e-9)
    np.testing.assert_allclose(rest_kev[is_upper], 401.1 + 306.84 + 201.83 + 88.36, atol=1e-9)
    sigma = math.sqrt(0.0039 * NUM_DECAYS)
    assert abs(is_upper.sum() - 0.0039 * NUM_DECAYS) < 5 * sigma
    assert energy_kev[first][~is_upper].max() <= 595.77
    assert energy_kev[first][is_upper].max() <= 194.67


@pytest.mark.parametrize(
    ("kev", "kind", "per_decay"),
    [
        (306.84, kernels.GAMMA, 0.936),
        (201.83, kernels.GAMMA, 0.7797),
        (88.36, kernels.GAMMA, 0.1451),
        (401.1, kernels.GAMMA, 0.00374),
        (241.358, kernels.ELECTRON, 0.0485),  # 307 keV, K shell
        (136.348, kernels.ELECTRON, 0.1266),
        (22.878, kernels.ELECTRON, 0.1688),
        (77.597, kernels.ELECTRON, 0.2555),  # 88 keV, L2
        (88.36, kernels.ELECTRON, 0.0351),  # 88 keV, N and beyond
        (55.79, kernels.X_RAY, 0.1656),  # K-alpha 1; ICRP has 55.92 keV
    ],
)
def test_intensities_are_those_of_icrp_107(emitted, kev, kind, per_decay):
    decay, kinds, energy_kev, _ = emitted
    is_beta = np.diff(decay, prepend=-1) > 0
    num = np.count_nonzero((kinds == kind) & ~is_beta & (abs(energy_kev - kev) < 1e-3))
    # the tables' transitions add up to 99.6 to 100.6 %; X-rays differ by their yields
    tolerance = 0.02 if kind == kernels.X_RAY else 0.007
    assert num / NUM_DECAYS == pytest.approx(
        per_decay, abs=tolerance * per_decay + 5 * math.sqrt(per_decay / NUM_DECAYS)
    )


def test_beta_spectrum_is_that_of_icrp_107(emitted):
    """Its table was computed by others, with corrections that this shape leaves out."""
    text = json.loads((resources.files("icrp107_database") / "icrp107/Lu-176.json").read_text())
    mev, per_mev = np.array(json.loads(text)["emissions"]["b-spectra"]).T
    decay, _, energy_kev, _ = emitted
    beta_kev = energy_kev[np.diff(decay, prepend=-1) > 0]
    edges_kev = np.arange(0, 601, 50)
    fine_mev = (np.arange(60_000) + 0.5) * 1e-5
    # near the end a spectrum is a parabola, its root a line; nodes of the table are 50 keV apart
    wanted = (np.interp(fine_mev, mev, np.sqrt(per_mev)) ** 2).reshape(12, 5000).sum(axis=1)
    wanted *= NUM_DECAYS / wanted.sum()
    found, _ = np.histogram(beta_kev, edges_kev)
    # measured 0.3 % between 10 and 590 keV; and five sigma
    assert (abs(found - wanted) < 0.005 * wanted + 5 * np.sqrt(wanted)).all()
    assert beta_kev.mean() == pytest.approx(183.2 * 0.9961 + 52.8 * 0.0039, abs=1.6)  # 5 sigma


def test_places_fill_the_crystals_evenly(emitted, ring, scanner):
    decay, _, _, place_mm = emitted
    place_mm = place_mm[np.diff(decay, prepend=-1) > 0][:100_000]
    crystals = np.array([kernels.crystal_at(*p, ring)[0] for p in place_mm])
    assert crystals.min() >= 0
    by_ring = np.bincount(crystals // scanner.num_columns, minlength=scanner.num_rings)
    assert abs(by_ring - 100_000 / 64).max() < 5 * math.sqrt(100_000 / 64)
    # in depth: along the axis of the crystal, uniform from face to face
    turn = 2 * np.pi * (crystals % scanner.num_columns) / scanner.num_columns
    depth = place_mm[:, 0] * np.cos(turn) + place_mm[:, 1] * np.sin(turn) - 125
    counts, _ = np.histogram(depth, np.linspace(0, 20, 11))
    assert abs(counts - 10_000).max() < 5 * 100  # 5 sigma


def test_a_deposit_of_a_whole_decay_is_seen_whole(scanner, ring):
    """A crystal without resolution, wide as the ring: energies of a decay are summed in it."""
    wide = scanner.__class__(
        **{**vars(scanner), "energy_window_kev": (1.0, 3000.0), "energy_resolution": 1e-9}
    )
    photons = tables.photons()
    what = setup.cylinder(1.0, 1.0, wide, photons)
    fixed = setup.fixed(*what, wide, photons)
    num, reals, counts = kernels.lutetium_slice(1, 0, 0.0, 2e7, 1e6, lutetium.table(), *fixed[1:])
    event, total_kev = -1 - counts[:, kernels.EVENT], reals[:, kernels.ENERGY_KEV]
    total_kev = np.bincount(event, total_kev, minlength=num)
    assert num > 15000 and total_kev.max() < 595.77 + 597.03 + 401.1
    # most decays lose nothing; then what is seen is a beta particle and 597 keV
    assert np.mean(total_kev > 597) > 0.3
    # places, and events from -1 down
    assert counts[:, kernels.EVENT].max() == -1 and len(np.unique(event)) > 0.99 * num
    radius_mm = np.hypot(reals[:, kernels.X_MM], reals[:, kernels.Y_MM])
    assert radius_mm.min() >= 125


def test_without_a_source_there_are_no_trues(scanner):
    batches = run(scanner, 0.0, 0.05)
    true, scattered, random, intrinsic = truths(batches)
    assert true == scattered == 0 and random > 50 and intrinsic > 10
    assert batches[-1].num_decays == 0
    expected = lutetium.activity_bq(scanner) * 0.05
    assert abs(batches[-1].num_lutetium - expected) < 5 * math.sqrt(expected)
    # measured with GATE too (tests/validation): 0.523 singles in the window per decay
    num_singles = sum(int(b.singles.sum()) for b in batches)
    assert num_singles / batches[-1].num_lutetium == pytest.approx(0.523, abs=5 * 0.0033)


def test_lutetium_changes_nothing_of_the_source(scanner):
    """In one slice of time, the source's singles are the same numbers with and without."""
    photons = tables.photons()
    fixed = setup.fixed(*setup.cylinder(5.0, 5.0, scanner, photons), scanner, photons)
    alone = kernels.decay_slice(5, 0, 0.0, 1e6, 1e6, *fixed)
    crystals = transport.Crystals(1e6, lutetium.table(), 9)
    decays, num_lutetium, reals, counts = transport._with_lutetium(
        alone, crystals, 0, (0.0, 1e6), fixed
    )
    is_of_source = counts[:, kernels.EVENT] >= 0
    assert decays == alone[0] and num_lutetium > 500 and (~is_of_source).sum() > 200
    order = np.argsort(alone[1][:, kernels.TIME_NS], kind="stable")
    np.testing.assert_array_equal(reals[is_of_source], alone[1][order])
    np.testing.assert_array_equal(counts[is_of_source], alone[2][order])
    assert (np.diff(reals[:, kernels.TIME_NS]) >= 0).all()
    same = transport._with_lutetium(alone, None, 0, (0.0, 1e6), fixed)
    assert same[2] is alone[1] and same[3] is alone[2]


def test_threads_change_nothing(scanner):
    one, three = (run(scanner, 1e6, 0.04, num_threads) for num_threads in (1, 3))
    for a, b in zip(one, three, strict=True):
        assert a.num_lutetium == b.num_lutetium
        np.testing.assert_array_equal(a.prompts.first.reals, b.prompts.first.reals)
        np.testing.assert_array_equal(a.delayed.second.counts, b.delayed.second.counts)


def test_the_file_keeps_the_truth(tmp_path, scanner):
    path = tmp_path / "c.root"
    stats = transport.simulate(
        "t", SOURCE, 1e6, 0.1, scanner, 3, 1, path, DELAY_NS, "cpu", has_lutetium=True
    )
    events = read_coincidences(path, scanner)
    counts = np.bincount(events.truth, minlength=4)
    wanted = [stats[key] for key in ("trues", "scatters", "randoms", "intrinsic")]
    assert counts[[TRUE, SCATTER, RANDOM, INTRINSIC]].tolist() == wanted
    assert counts.sum() == stats["prompts"] and counts[INTRINSIC] > 30
    assert abs(stats["decays"] - 1e5) < 5 * math.sqrt(1e5)


def test_file_for_gate_is_one_event_per_mark(tmp_path, scanner):
    path = tmp_path / "lutetium.root"
    activity_bq = file_of_decays.write_decays(path, scanner, 1e-3, 4)
    assert activity_bq == lutetium.activity_bq(scanner)
    with uproot.open(path) as file:
        data = file["decays"].arrays(library="np")
    is_mark = data["PDGCode"] == file_of_decays.MARK_PDG
    # enough for six sigma more than expected
    assert is_mark.sum() == int(activity_bq * 1e-3 + 6 * math.sqrt(activity_bq * 1e-3)) + 1
    assert is_mark[0] and not (is_mark[1:] & is_mark[:-1]).any()
    assert (data["PDGCode"][np.flatnonzero(is_mark) + 1] == 11).all()  # the beta particle
    assert set(data["PDGCode"]) == {-12, 11, 22}
    decay = np.cumsum(is_mark) - 1
    for axis in "XYZ":
        place = data[f"Position_{axis}"]
        np.testing.assert_array_equal(place, place[is_mark][decay])
    assert np.hypot(data["Position_X"], data["Position_Y"]).min() >= 125 - 1e-4  # single precision


def test_gate_follows_the_same_decays(tmp_path, scanner, tables):
    """GATE's number of decays and of singles; pairs need longer runs (tests/validation)."""
    path = tmp_path / "c.root"
    stats = gate.simulate(
        "t", SOURCE, 1e5, 0.02, scanner, "G4EmStandardPhysics", tables, 11, path,
        particle="back_to_back", delay_ns=DELAY_NS, has_lutetium=True,
    )  # fmt: skip
    expected = lutetium.activity_bq(scanner) * 0.02
    assert abs(stats["lutetium_decays"] - expected) < 5 * math.sqrt(expected)
    assert abs(stats["decays"] - 2000) < 5 * math.sqrt(2000)
    per_source = 0.56  # singles per decay of this source; an error of 0.05 makes 0.005 below
    of_lutetium = (stats["singles"] - per_source * stats["decays"]) / stats["lutetium_decays"]
    assert of_lutetium == pytest.approx(0.523, abs=5 * 0.005)
    events = read_coincidences(path, scanner)
    counts = np.bincount(events.truth, minlength=4)
    assert counts[TRUE] > 100 and 2 < counts[INTRINSIC] < 40  # 14 expected
    assert stats["intrinsic"] == counts[INTRINSIC]
