"""The cases on which engines are compared: drawn by the seed, of every kind, as documented."""

import dataclasses

import numpy as np
import pytest

from tubepet.phantom import spec
from tubepet.plan import validation
from tubepet.simulate import sources
from tubepet.types import Scanner
from tubepet.validate import cases

SEEDS = range(40)


@pytest.fixture
def drawn(scanner: Scanner) -> list[cases.Case]:
    return [cases.draw(n, seed, scanner) for seed in SEEDS for n in validation.names("full")]


def test_cases_follow_the_seed_and_nothing_else(scanner: Scanner) -> None:
    first = [cases.draw(name, 1, scanner) for name in validation.names("full")]
    assert first == [cases.draw(name, 1, scanner) for name in validation.names("full")]
    assert first != [cases.draw(name, 2, scanner) for name in validation.names("full")]
    assert len({case.tube for case in first}) == len(first)


def test_cases_cover_families_defects_sizes_sources_and_places(drawn: list[cases.Case]) -> None:
    bores_mm = np.array([2 * case.tube.bore_radius_mm for case in drawn])
    assert 5 <= bores_mm.min() < 6 and 24 < bores_mm.max() <= 25
    assert {case.tube.family for case in drawn} == set(spec.FAMILIES)
    assert {case.tube.defect for case in drawn} == set(spec.DEFECTS)
    assert {case.active for case in drawn} == {"whole", "half", "octant"}
    exact = [case for case in drawn if case.is_exact]
    assert len(exact) == len(drawn) / 2
    assert {case.tube.family for case in exact} == set(sources.SOLID_FAMILIES)
    away_mm = [np.hypot(*case.middle_mm[:2]) for case in drawn if not case.is_exact]
    assert max(away_mm) > 20 and max(away_mm) <= cases.MAX_SHIFT_MM


def test_tubes_stay_in_a_small_scanner(scanner: Scanner) -> None:
    small = dataclasses.replace(scanner, inner_radius_mm=30.0)
    for seed in SEEDS:
        case = cases.draw("full_1", seed, small)
        tube = case.tube
        reach_mm = tube.bore_radius_mm + tube.wall_mm
        assert np.hypot(*case.middle_mm[:2]) <= max(0.0, 30.0 - reach_mm)


def test_volumes_lie_where_the_case_says(scanner: Scanner) -> None:
    case = dataclasses.replace(
        cases.draw("full_1", 3, scanner), active="octant", middle_mm=(7.0, -5.0, 11.0), voxel_mm=1.0
    )
    labels, activity, _ = cases.volumes(case)
    z_mm, y_mm, x_mm = activity.grid.axes_mm()
    used = np.argwhere(activity.array > 0)
    assert (x_mm[used[:, 2]] > 7).all() and (y_mm[used[:, 1]] > -5).all()
    assert (z_mm[used[:, 0]] > 11).all()
    wall = np.argwhere(labels.array == 2)
    # all of the tube is there: its middle is that of the case, within a voxel and the defect
    assert np.mean(z_mm[wall[:, 0]]) == pytest.approx(11, abs=1.0)
    assert labels.grid == activity.grid


@pytest.mark.parametrize("active", ["whole", "half"])
def test_exact_solids_are_as_long_and_as_full_as_the_voxels(scanner, tmp_path, active) -> None:
    name = "full_0"
    case = dataclasses.replace(cases.draw(name, 5, scanner), active=active)
    gate, fast, activity_bq = cases.described(case, tmp_path)
    assert gate["kind"] == "solids" and fast["kind"] == "tube"
    active_pieces = [
        piece for piece, share in zip(gate["fluid"], gate["shares"], strict=True) if share > 1e-6
    ]
    volume_mm3 = sum(np.pi * p["radius_mm"] ** 2 * p["length_mm"] for p in active_pieces)
    # points of 0.06 mm in a circle of 4 mm: half a per cent
    assert activity_bq / cases.CONCENTRATION_BQ_MM3 == pytest.approx(volume_mm3, rel=1e-2)
    if active == "half":
        assert all(p["middle_mm"][2] > 0 for p in active_pieces)
    assert sum(gate["shares"]) == pytest.approx(1)
    ends_mm = [p["middle_mm"][2] + s * p["length_mm"] / 2 for p in gate["fluid"] for s in (-1, 1)]
    assert max(ends_mm) - min(ends_mm) == pytest.approx(case.tube.length_mm)


def test_decays_of_a_run_add_up_and_exact_cases_get_more() -> None:
    given = [validation.expected_decays(name, 1_500_000) for name in validation.names("run")]
    assert sum(given) == pytest.approx(1_500_000)
    assert given[0] == 8 * given[1]
    assert all(
        validation.expected_decays(name, 1) >= 2_000_000 for name in validation.names("full")
    )
    assert len(validation.names("full")) >= 6
