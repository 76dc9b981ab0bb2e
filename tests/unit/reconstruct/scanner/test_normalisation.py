"""Efficiencies of crystals in any arrangement are recovered from their counts."""

from dataclasses import replace

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.reconstruct import calibration
from tubepet.reconstruct.projection import kernels
from tubepet.reconstruct.scanner import crystals, fingerprint, normalisation
from tubepet.reconstruct.scanner.lors import Cylinder
from tubepet.types import Listmode

BLOCKS = {
    "around": 8, "first_angle_deg": 0, "inner_radius_mm": 30.0, "z_mm": [-9.0, 9.0],
    "columns": 4, "rings": 3, "crystal_width_mm": 5.0, "crystal_height_mm": 5.0,
    "crystal_depth_mm": 10.0, "pitch_width_mm": 5.5, "pitch_height_mm": 5.5,
}  # fmt: skip
SOURCE = Cylinder(12.0, -15.0, 15.0)
VOLUME_MM3 = np.pi * 12**2 * 30


@pytest.fixture(scope="module")
def blocks(scanner):
    return replace(
        scanner, modules=[BLOCKS], dead_crystals=[3, 100], min_transaxial_distance_mm=20.0
    )


def drawn(blocks, efficiency, terms, decays, random):
    """Poisson counts of all pairs that see the source, as events."""
    ideal = crystals.of_scanner(blocks)
    lines = normalisation._Lines(ideal, normalisation._half_sides_mm(blocks), SOURCE)
    pairs, unit = normalisation._through(lines)
    true = replace(ideal, efficiency=efficiency, angle_terms=terms)
    areas = [crystals.pair_areas_mm2(one, *pairs) for one in (true, ideal)]
    counts = random.poisson(unit * decays / VOLUME_MM3 * areas[0] / areas[1])
    first, second = (np.repeat(part, counts) for part in pairs)
    num = len(first)
    return Listmode(first, second, np.zeros(num), np.zeros(num, np.uint8))


def test_drawn_efficiencies_are_found_again(blocks):
    random = np.random.default_rng(1)
    true = random.uniform(0.3, 0.9, blocks.num_crystals)
    true[[3, 100]] = 0.0
    terms = np.array([-0.8, -0.5, 0.0, 0.0, 0.0])
    events = drawn(blocks, true, terms, 1e7, random)
    nothing = np.zeros(blocks.num_crystals)
    found = normalisation.fit(events, nothing, blocks, SOURCE, 1e7, "c.root")
    assert found.crystals.efficiency[[3, 100]].tolist() == [0, 0]
    is_alive = true > 0
    ratio = found.crystals.efficiency[is_alive] / true[is_alive]
    sigma = 1 / np.sqrt(found.counts[is_alive])
    assert sigma.max() < 0.03
    # the scale and the angles share counts with the efficiencies: 1 %; beyond, Poisson's law
    assert abs(np.log(ratio).mean()) < 0.01
    pulls = (ratio / ratio.mean() - 1) / sigma
    assert 0.8 < pulls.std() < 1.25  # 190 crystals: 5 %, and what angles add
    # the counts of pairs, which is what an image is made from
    ends = np.triu_indices(blocks.num_crystals, 1)
    model = [
        crystals.pair_areas_mm2(one, *ends)
        for one in (found.crystals, replace(found.crystals, efficiency=true, angle_terms=terms))
    ]
    assert model[0].sum() == pytest.approx(model[1].sum(), rel=0.01)


def test_equal_crystals_get_equal_efficiencies(blocks):
    """Few counts do not become noise: what Poisson's law explains is no difference."""
    random = np.random.default_rng(2)
    true = np.where(np.isin(np.arange(blocks.num_crystals), [3, 100]), 0.0, 0.5)
    events = drawn(blocks, true, np.empty(0), 1e5, random)
    nothing = np.zeros(blocks.num_crystals)
    found = normalisation.fit(events, nothing, blocks, SOURCE, 1e5, "c.root")
    used = found.crystals.efficiency[true > 0]
    assert 4 < np.sqrt(found.counts[true > 0]).mean() < 6
    assert used.std() / used.mean() < 0.1  # Poisson alone would give 0.2
    assert len(found.crystals.angle_terms) in (0, 5)


def test_randoms_are_taken_off(blocks):
    """Half of all counts are random: the efficiency is that of the others."""
    random = np.random.default_rng(3)
    true = np.where(np.isin(np.arange(blocks.num_crystals), [3, 100]), 0.0, 0.5)
    events = drawn(blocks, true, np.empty(0), 1e6, random)
    ideal = crystals.of_scanner(blocks)
    lines = normalisation._Lines(ideal, normalisation._half_sides_mm(blocks), SOURCE)
    pairs, _ = normalisation._through(lines)
    singles = np.full(blocks.num_crystals, np.sqrt(len(events) / len(pairs[0])))
    counts = random.poisson(singles[0] ** 2, len(pairs[0]))
    first, second = (
        np.concatenate([ids, np.repeat(part, counts)])
        for ids, part in zip((events.crystal1, events.crystal2), pairs, strict=True)
    )
    both = Listmode(first, second, np.zeros(len(first)), np.zeros(len(first), np.uint8))
    found = normalisation.fit(both, singles, blocks, SOURCE, 1e6, "c.root")
    assert len(events) > 3000
    areas = [
        crystals.pair_areas_mm2(one, *pairs).sum()
        for one in (found.crystals, replace(ideal, efficiency=true))
    ]
    # the difference of two Poisson numbers of 3000: 2.6 %, two of these; without: a factor of 2
    assert areas[0] == pytest.approx(areas[1], rel=0.05)


def test_too_few_counts_are_refused(blocks):
    events = drawn(blocks, np.full(blocks.num_crystals, 0.1), np.empty(0), 1e5,
                   np.random.default_rng(4))  # fmt: skip
    with pytest.raises(InputError, match=r"c\.root: got \d+ coincidences from the source"):
        normalisation.fit(events, np.zeros(blocks.num_crystals), blocks, SOURCE, 1e5, "c.root")


def test_chords_by_sampling(blocks):
    """Lines between random places of two faces, and steps along them inside the cylinder."""
    ideal, random = crystals.of_scanner(blocks), np.random.default_rng(5)
    sides = normalisation._half_sides_mm(blocks)
    first, second = np.array([5, 20, 40], np.int32), np.array([60, 75, 150], np.int32)
    found = kernels.cylinder_chords(ideal.points_mm, sides, first, second, 12.0, 15.0)
    for k in range(3):
        ends = []
        for i in (first[k], second[k]):
            share = random.uniform(-1, 1, (2000, 2))
            ends.append(ideal.points_mm[i] + np.einsum("ns,sk->nk", share, sides[i]))
        part = (np.arange(400) + 0.5)[:, None, None] / 400
        places = ends[0] + part * (ends[1] - ends[0])
        inside = (np.hypot(places[..., 0], places[..., 1]) < 12) & (np.abs(places[..., 2]) < 15)
        lengths = np.linalg.norm(ends[1] - ends[0], axis=1) * inside.mean(axis=0)
        # four places of each face stand for all of it: worst where only some of the lines meet
        # the source, by half of a step between them
        assert found[k] == pytest.approx(lengths.mean(), abs=0.8)


def test_angles_by_hand():
    """A face towards +x, seen from 30 degrees aside and from 45 degrees along the axis."""
    normal = np.array([[1.0, 0.0, 0.0]])
    one = crystals.Crystals(np.zeros((1, 3)), normal, np.ones(1), np.ones(1))
    ways = np.array([[np.sqrt(0.75), 0.5, 0.0], [np.sqrt(0.5), 0.0, -np.sqrt(0.5)]])
    found = crystals.angle_features(one.normals[[0, 0]], ways)
    np.testing.assert_allclose(found, [[0.25, 0, 1 / 16, 0, 0], [0, 0.5, 0, 0, 0.25]], atol=1e-12)


def test_a_normalisation_of_another_scanner_is_refused(blocks):
    found = crystals.of_scanner(blocks)
    facts = {"crystal_efficiency": found.efficiency.tolist(), "angle_terms": []}
    facts["scanner"] = fingerprint.scanner_hash(blocks)
    fingerprint.check_calibration("c.json", facts, blocks)
    read = calibration.efficiency_of(facts, blocks)
    np.testing.assert_array_equal(read.efficiency, found.efficiency)
    moved = replace(blocks, modules=[BLOCKS | {"first_angle_deg": 1}])
    for other in (moved, replace(blocks, dead_crystals=[3]), replace(blocks, modules=[])):
        with pytest.raises(InputError, match=r"c\.json: got a calibration of scanner"):
            fingerprint.check_calibration("c.json", facts, other)
    for terms in (None, [0.1], [0.1, 0.2, 0.3, 0.4, float("nan")]):
        with pytest.raises(InputError, match=r"angle_terms: expected none or 5 numbers, got "):
            fingerprint.check_calibration("c.json", facts | {"angle_terms": terms}, blocks)
    facts["crystal_efficiency"] = facts["crystal_efficiency"][1:]
    with pytest.raises(InputError, match=r"crystal_efficiency: expected 192 efficiencies"):
        fingerprint.check_calibration("c.json", facts, blocks)
