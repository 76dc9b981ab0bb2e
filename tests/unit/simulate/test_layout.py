"""Scanners of modules in both engines, and crystals with an efficiency below 1."""

from dataclasses import replace

import numpy as np
import pytest
import uproot
from numpy.testing import assert_allclose

from tubepet import io, layout
from tubepet.errors import InputError
from tubepet.simulate import sources
from tubepet.simulate.coincidences import (
    crystal_of,
    drop_unreported,
    is_reported,
    read_coincidences,
    read_delayed,
)
from tubepet.simulate.fast import kernels, lutetium, setup, tables, transport
from tubepet.simulate.geant4 import gate
from tubepet.types import Grid, Volume

BLOCKS = {
    "around": 9, "first_angle_deg": 13, "inner_radius_mm": 40.0, "z_mm": [-11.0, 12.0],
    "columns": 4, "rings": 5, "crystal_width_mm": 5.0, "crystal_height_mm": 3.0,
    "crystal_depth_mm": 12.0, "pitch_width_mm": 6.0, "pitch_height_mm": 4.0,
}  # fmt: skip
# behind every second block, where copy numbers of the first family come again
BEHIND = BLOCKS | {"inner_radius_mm": 54.0, "columns": 3, "around": 3}
HEADS = BLOCKS | {"around": 2, "columns": 9, "rings": 8, "z_mm": [0.0], "inner_radius_mm": 45.0}


@pytest.fixture(scope="module", params=[[BLOCKS, BEHIND], [HEADS]], ids=["blocks", "heads"])
def modules(request, scanner):
    return replace(scanner, modules=request.param, min_transaxial_distance_mm=30.0)


@pytest.fixture(scope="module")
def water(tmp_path_factory):
    """Return a rod of water with activity beside the axis."""
    folder, grid = tmp_path_factory.mktemp("water"), Grid.centred((10, 12, 12), (2.0, 2.0, 2.0))
    _, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    labels = (np.hypot(x - 2, y + 1) < 8).astype(np.uint8)
    io.write_volume(folder / "labels.nii.gz", Volume(labels, grid))
    io.write_volume(folder / "activity.nii.gz", Volume(labels.astype(np.float32), grid))
    return sources.tube_source(folder / "labels.nii.gz", folder / "activity.nii.gz", grid)


def fast(water, scanner, path, decays=4e5, activity_bq=1e6):
    duration_s = decays / activity_bq
    return transport.simulate(
        "rod", water, activity_bq, duration_s, scanner, 3, 1, path, 500.0, "cpu"
    )


def brute(table, point):
    """Crystal and margin by a search through all of them."""
    across = np.cross([0, 0, 1.0], table.outwards)
    away = point - table.centres_mm
    off = np.stack([(away * table.outwards).sum(1), (away * across).sum(1), away[:, 2]], axis=1)
    margin = (table.sizes_mm / 2 - np.abs(off)).min(axis=1)
    best = int(margin.argmax())
    return (best, margin[best]) if margin[best] > 0 else (-1, 0.0)


def test_the_crystal_at_a_place_is_that_of_a_search(modules):
    ring, table = setup.ring(modules, tables.photons()), layout.table(modules)
    random = np.random.default_rng(1)
    size = [*[layout.reach_mm(modules)] * 2, layout.half_length_mm(modules)]
    points = list(random.uniform(-1.05, 1.05, (500, 3)) * size)
    near = random.integers(len(table), size=500)
    points += list(table.centres_mm[near] + random.uniform(-9, 9, (500, 3)))
    found = [kernels.crystal_at(*point, ring) for point in points]
    expected = [brute(table, point) for point in points]
    assert [crystal for crystal, _ in found] == [crystal for crystal, _ in expected]
    # 1e-9 mm: rounding of turned coordinates
    assert_allclose([mm for _, mm in found], [mm for _, mm in expected], atol=1e-9)
    assert 150 < sum(crystal >= 0 for crystal, _ in found) < 850


def test_a_line_meets_the_faces_of_a_crystal_where_its_box_says(modules):
    ring, table = setup.ring(modules, tables.photons()), layout.table(modules)
    random = np.random.default_rng(4)
    for crystal in random.integers(len(table), size=200):
        axes = np.stack([
            table.outwards[crystal], np.cross([0, 0, 1.0], table.outwards[crystal]), [0, 0, 1.0]
        ])  # fmt: skip
        half_mm = table.sizes_mm[crystal] / 2
        off_mm, way = random.uniform(-2, 2, 3) * half_mm, random.normal(size=3)
        way /= np.linalg.norm(way)
        place = table.centres_mm[crystal] + off_mm @ axes
        faces = np.sort((np.outer([-1, 1], half_mm) - off_mm) / (axes @ way), axis=0)
        found = kernels.crystal_span(crystal, *place, *way, ring)
        # 1e-6 mm: rounding, larger for lines along a face
        assert_allclose(found, [faces[0].max(), faces[1].min()], rtol=1e-6, atol=1e-6)


def test_readout_places_are_the_crystals(modules):
    centres_mm = layout.table(modules).centres_mm
    np.testing.assert_array_equal(crystal_of(modules, *centres_mm.T), np.arange(len(centres_mm)))
    with pytest.raises(InputError, match="got 1 readout positions that are no crystal centres"):
        crystal_of(modules, *np.add(centres_mm[:3], [[0, 0, 0], [0, 0, 0.02], [0, 0, 0]]).T)


def test_gate_and_the_fast_engine_agree(modules, water, tables, tmp_path):
    """Ids, singles and pairs; 40,000 decays by GATE, ten times as many by the other."""
    (tmp_path / "gate").mkdir()
    paths = tmp_path / "gate/c.root", tmp_path / "c.root"
    stats = [
        gate.simulate(
            "rod", water, 1e6, 0.04, modules, "G4EmStandardPhysics", tables, 5, paths[0],
            particle="back_to_back", delay_ns=500.0,
        ),
        fast(water, modules, paths[1]),
    ]  # fmt: skip
    for key in ("singles", "prompts", "trues", "scatters"):
        (one, decays1), (two, decays2) = ((s[key], s["decays"]) for s in stats)
        sigma = np.sqrt(one / decays1**2 + two / decays2**2)
        # singles of one decay come in pairs: up to sqrt(2) as wide as Poisson; 4 sigma of that
        assert abs(one / decays1 - two / decays2) < 4 * np.sqrt(2) * sigma, key
    names = []
    for path in paths:
        crystals = read_coincidences(path, modules).crystal1
        ids = uproot.open(path)["Coincidences/PreStepUniqueVolumeID1"].array(library="np")
        names.append(dict(zip(crystals.tolist(), ids.tolist(), strict=True)))
    both = names[0].keys() & names[1].keys()
    assert len(both) > 50 and all(names[0][c] == names[1][c] for c in both)
    by_module = [np.array(s["singles_by_module"]) / s["decays"] for s in stats]
    sigma = np.sqrt(np.maximum(by_module[1], 1e-4) / stats[0]["decays"])
    assert (np.abs(by_module[0] - by_module[1]) < 5 * np.sqrt(2) * sigma).all()


def test_a_single_has_one_fate():
    """The same whatever it is paired with, kept as often as said, apart from its neighbours."""
    efficiency = np.array([1.0, 0.3, 0.0, 0.8])
    event, crystal = np.divmod(np.arange(200_000), 4)
    kept = is_reported(7, event, crystal, efficiency)
    again = is_reported(7, event[::-1], crystal[::-1], efficiency)
    np.testing.assert_array_equal(kept, again[::-1])
    table = kept.reshape(-1, 4)
    share = table.mean(axis=0)
    assert share[0] == 1 and share[2] == 0
    assert_allclose(share[[1, 3]], [0.3, 0.8], atol=0.009)  # 4 sigma of 50,000
    assert np.corrcoef(table[:, 1], table[:, 3])[0, 1] < 0.018  # 4 sigma
    assert np.corrcoef(table[1:, 1], table[:-1, 1])[0, 1] < 0.018
    other = is_reported(8, event, crystal, efficiency).reshape(-1, 4)
    assert abs(np.corrcoef(table[:, 1], other[:, 1])[0, 1]) < 0.018
    assert is_reported(7, event, crystal, np.ones(4)).all()


def test_both_engines_drop_the_same_singles(scanner, water, tmp_path):
    """GATE's file is thinned after the pairs were made, the fast engine's singles before."""
    whole = replace(scanner, modules=[HEADS], min_transaxial_distance_mm=30.0)
    table = tmp_path / "e.csv"
    kept = np.random.default_rng(2).uniform(0.4, 1, whole.num_crystals)
    rows = "".join(f"{i},{e}\n" for i, e in enumerate(kept))
    table.write_text("crystal,efficiency\n" + rows)
    thin = replace(whole, efficiencies=str(table), dead_crystals=[5, 60])
    all_stats = fast(water, whole, tmp_path / "all.root", 1e5, 1e8)
    stats = fast(water, thin, tmp_path / "thin.root", 1e5, 1e8)
    drop_unreported(tmp_path / "all.root", thin, 3)
    for read in (read_coincidences, read_delayed):
        one, two = (read(tmp_path / f"{name}.root", whole) for name in ("all", "thin"))
        assert len(one) == len(two) > 0
        for field in ("crystal1", "crystal2", "time_difference_ns", "truth"):
            np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
        assert not np.isin(np.concatenate([two.crystal1, two.crystal2]), [5, 60]).any()
    assert 0.6 < stats["singles"] / all_stats["singles"] < 0.8


def test_lutetium_decays_in_all_crystals_by_their_volume(modules, scanner):
    table = layout.table(modules)
    volume_mm3 = table.sizes_mm.prod(axis=1)
    ring_mm3 = layout.table(scanner).sizes_mm.prod(axis=1).sum()
    expected = lutetium.activity_bq(scanner) * volume_mm3.sum() / ring_mm3
    assert lutetium.activity_bq(modules) == pytest.approx(expected)
    ring, num = setup.ring(modules, tables.photons()), 40_000
    decay, _, found = kernels.emitted_by_lutetium(1, 0, num, lutetium.table(), ring)
    places_mm = found[np.unique(decay, return_index=True)[1], 1:]
    crystals = [kernels.crystal_at(*place, ring)[0] for place in places_mm]
    counts = np.bincount(crystals, minlength=len(table))
    mean = num * volume_mm3 / volume_mm3.sum()
    # chi-square of n crystals: n with a deviation of sqrt(2 n), five of them
    assert ((counts - mean) ** 2 / mean).sum() < len(table) + 5 * np.sqrt(2 * len(table))


def test_pairs_of_one_decay_in_modules_are_intrinsic(modules, water, tmp_path):
    wide = replace(modules, energy_window_kev=(60.0, 650.0))
    stats = transport.simulate(
        "rod", water, 1.0, 500.0, wide, 3, 1, tmp_path / "c.root", 500.0, "cpu", has_lutetium=True
    )
    events = read_coincidences(tmp_path / "c.root", wide)
    assert stats["intrinsic"] == (events.truth == 3).sum() > 0.8 * len(events) > 100


def test_every_crystal_of_modules_has_its_own_dead_time(modules, water, tmp_path):
    """N paralysable crystals of pulse rates r live exp(-r dead time) of the time."""
    whole = fast(water, modules, tmp_path / "a.root", 2e5, 1e8)
    dead_ns = 3000.0
    dead = fast(water, replace(modules, dead_time_ns=dead_ns), tmp_path / "b.root", 2e5, 1e8)
    rate_hz = dead["pulses"] / modules.num_crystals / (2e5 / 1e8)
    live = np.exp(-rate_hz * dead_ns * 1e-9)
    # crystals differ in their rates, and the source is no thinner at one: 0.05 of the loss
    assert 0.5 < live < 0.95
    assert dead["live_share"] == pytest.approx(live, abs=0.2 * (1 - live))
    assert dead["singles"] / whole["singles"] == pytest.approx(dead["live_share"], abs=0.02)
