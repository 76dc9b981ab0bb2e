"""The delayed window: GATE's pairs are those of a simple sorter, and as many as the randoms."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from numpy.typing import NDArray

from tubepet.simulate.coincidences import (
    BRANCH_TYPES,
    RANDOM,
    add_missing_trees,
    branches,
    read_branches,
    read_coincidences,
    read_delayed,
    write_empty,
)
from tubepet.simulate.geant4 import em_tables, gate
from tubepet.types import Scanner

DELAY_NS = 500.0
ACTIVITY_BQ, DURATION_S = 5e6, 0.02


@pytest.fixture(scope="module")
def busy(tmp_path_factory, block_source: dict, scanner: Scanner, tables: dict) -> Path:
    """Simulate 100,000 decays at 5 MBq; keeps the singles."""
    folder = tmp_path_factory.mktemp("busy")
    job = {
        "folder": str(folder), "seed": 5, "physics_list": "G4EmStandardPhysics",
        "scanner": vars(scanner), "source": block_source, "activity_bq": ACTIVITY_BQ,
        "duration_s": DURATION_S, "particle": "back_to_back", "delay_ns": DELAY_NS,
    }  # fmt: skip
    gate.run_worker("busy", job, em_tables.environment(tables["root"]))
    return folder


def singles_of(folder: Path) -> dict[str, NDArray[Any]]:
    names = ["GlobalTime", "EventID", "PostPosition_X", "PostPosition_Y"]
    with uproot.open(folder / "singles.root") as file:
        data = file["Singles"].arrays(names, library="np")
    order = np.argsort(data["GlobalTime"], kind="stable")
    return {name: values[order] for name, values in data.items()}


def pairs_ns(
    singles: dict[str, NDArray[Any]], scanner: Scanner, delay_ns: float
) -> NDArray[np.float64]:
    """Return the times (first, second) of all pairs in the window that starts at `delay_ns`."""
    time = singles["GlobalTime"]
    ends = (delay_ns, delay_ns + scanner.coincidence_window_ns)
    low, high = (np.searchsorted(time, time + end) for end in ends)
    low = np.maximum(low, np.arange(len(time)) + 1)  # never a single with itself
    count = np.maximum(high - low, 0)
    first = np.repeat(np.arange(len(time)), count)
    second = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + low[first]
    apart_mm = np.hypot(
        *(singles[name][first] - singles[name][second] for name in singles if "Post" in name)
    )
    good = apart_mm >= scanner.min_transaxial_distance_mm
    return in_order(time[first[good]], time[second[good]])


def in_order(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return pairs, shape (n, 2), sorted."""
    return np.stack([first, second], axis=1)[np.lexsort([second, first])]


@pytest.mark.parametrize(("tree", "delay_ns"), [("Coincidences", 0.0), ("Delayed", DELAY_NS)])
def test_pairs_are_those_of_a_plain_sorter(
    busy: Path, scanner: Scanner, tree: str, delay_ns: float
) -> None:
    data = read_branches(busy / "coincidences.root", ["GlobalTime1", "GlobalTime2"], tree)
    made = in_order(data["GlobalTime1"], data["GlobalTime2"])
    expected = pairs_ns(singles_of(busy), scanner, delay_ns)
    assert len(expected) > 1000
    np.testing.assert_array_equal(made, expected)


def test_delayed_pairs_are_as_many_as_randoms(busy: Path, scanner: Scanner) -> None:
    prompts = read_coincidences(busy / "coincidences.root", scanner)
    delayed = read_delayed(busy / "coincidences.root", scanner)
    randoms = int((prompts.truth == RANDOM).sum())
    assert (delayed.truth == RANDOM).all()
    assert (delayed.time_difference_ns >= DELAY_NS).all()
    assert abs(len(delayed) - randoms) < 4 * np.sqrt(len(delayed) + randoms)  # both Poisson

    # Window times rate squared, over the share of column pairs that are far enough apart.
    singles = singles_of(busy)
    turns = np.arctan2(singles["PostPosition_Y"], singles["PostPosition_X"]) / (2 * np.pi)
    column = np.rint(turns * scanner.num_columns).astype(int) % scanner.num_columns
    share = np.bincount(column, minlength=scanner.num_columns) / len(column)
    radius_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    steps = np.arange(scanner.num_columns)
    apart_mm = 2 * radius_mm * np.sin(np.pi * steps / scanner.num_columns)
    by_step = np.array([share @ np.roll(share, step) for step in steps])
    good = by_step[apart_mm >= scanner.min_transaxial_distance_mm].sum()
    window_s = scanner.coincidence_window_ns * 1e-9
    expected = window_s * len(column) ** 2 / DURATION_S * good
    assert abs(len(delayed) - expected) < 4 * np.sqrt(expected)


def test_missing_tree_is_added_and_the_other_kept(
    tmp_path: Path, busy: Path, scanner: Scanner
) -> None:
    part = tmp_path / "c.root"
    with uproot.open(busy / "coincidences.root") as file, uproot.recreate(part) as copy:
        tree = file["Coincidences"]
        types = {name: kind for key, kind in BRANCH_TYPES.items() for name in branches(key)}
        copy.mktree("Coincidences", types)
        copy["Coincidences"].extend({name: tree[name].array() for name in types})
    before = read_coincidences(busy / "coincidences.root", scanner)
    add_missing_trees(part)
    after = read_coincidences(part, scanner)
    assert len(read_delayed(part, scanner)) == 0
    for name in ("crystal1", "crystal2", "time_difference_ns", "truth"):
        np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
    assert [p.name for p in tmp_path.iterdir()] == ["c.root"]


def test_empty_file_has_both_trees(tmp_path: Path, scanner: Scanner) -> None:
    write_empty(tmp_path / "c.root")
    assert len(read_coincidences(tmp_path / "c.root", scanner)) == 0
    assert len(read_delayed(tmp_path / "c.root", scanner)) == 0
