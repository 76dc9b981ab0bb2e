from pathlib import Path

import numpy as np
import pytest
import uproot

from tubepet.errors import InputError
from tubepet.formats.gate import GATE9, GATE10, SORTER, has_delayed, read_gate
from tubepet.reconstruct.scanner import crystals


def write(
    path: Path, names: list[str], places1, places2, time1, time2, tree: str = "Coincidences"
) -> None:
    columns = [*places1.T, *places2.T, time1, time2]
    with uproot.recreate(path) as file:
        file[tree] = dict(zip(names, columns, strict=True))


@pytest.mark.parametrize(
    ("names", "second"),
    [(GATE10, 1e9), (SORTER, 1e9), (GATE9, 1.0)],
    ids=["10", "10, sorter", "9"],
)
def test_crystals_and_times(tmp_path, scanner, events, centres_mm, names, second) -> None:
    """GATE 10 writes ns, GATE 9 seconds."""
    time1 = np.full(len(events), 1e-3) * second
    time2 = time1 + events.time_difference_ns * 1e-9 * second
    ends = centres_mm[events.crystal1], centres_mm[events.crystal2]
    write(tmp_path / "c.root", names, *ends, time1, time2)
    back = read_gate(tmp_path / "c.root", crystals.of_scanner(scanner))
    np.testing.assert_array_equal(back.crystal1, events.crystal1)
    np.testing.assert_array_equal(back.crystal2, events.crystal2)
    # times of 1 ms in float64: 2e-19 s
    np.testing.assert_allclose(back.time_difference_ns, events.time_difference_ns, atol=1e-8)


def test_singles_outside_are_counted(tmp_path, scanner, centres_mm) -> None:
    ends = centres_mm[:5].copy()
    ends[:2] *= 2
    write(tmp_path / "c.root", GATE9, ends, centres_mm[:5], np.zeros(5), np.zeros(5))
    with pytest.raises(InputError, match=r"got 2 of 10 singles outside .* at most 1 %"):
        read_gate(tmp_path / "c.root", crystals.of_scanner(scanner))


def test_nan_times_are_refused(tmp_path, scanner, centres_mm) -> None:
    ends = centres_mm[:2]
    write(tmp_path / "c.root", GATE9, ends, ends, np.array([0.0, np.nan]), np.zeros(2))
    with pytest.raises(InputError, match=r"got NaN or infinite values in time1"):
        read_gate(tmp_path / "c.root", crystals.of_scanner(scanner))


def test_other_branches_are_listed(tmp_path, scanner) -> None:
    with uproot.recreate(tmp_path / "c.root") as file:
        file["Coincidences"] = {"foo": np.arange(3), "bar": np.arange(3)}
    with pytest.raises(InputError, match=r"has the branches bar, foo; expected GATE 10's"):
        read_gate(tmp_path / "c.root", crystals.of_scanner(scanner))


def test_other_trees_are_listed(tmp_path, scanner) -> None:
    with uproot.recreate(tmp_path / "c.root") as file:
        file["Hits"], file["Singles"] = {"x": np.arange(3)}, {"x": np.arange(3)}
    with pytest.raises(InputError, match=r"got the trees Hits, Singles, expected also Coincid"):
        read_gate(tmp_path / "c.root", crystals.of_scanner(scanner))


@pytest.mark.parametrize("content", [b"", b"no root file"])
def test_empty_and_other_files(tmp_path, scanner, content) -> None:
    (tmp_path / "c.root").write_bytes(content)
    with pytest.raises(InputError, match=r"c\.root: expected a whole ROOT file"):
        read_gate(tmp_path / "c.root", crystals.of_scanner(scanner))


@pytest.mark.parametrize(
    "tree", ["Coincidences", "out/Coincidences", "a/b/Coincidences", "finalCoinc", "coincidences"]
)
def test_trees_by_their_names_in_any_folder(tmp_path, scanner, events, centres_mm, tree) -> None:
    ends, times = (centres_mm[events.crystal1], centres_mm[events.crystal2]), np.zeros(200)
    write(tmp_path / "c.root", GATE9, *ends, times, times, tree)
    back = read_gate(tmp_path / "c.root", crystals.of_scanner(scanner))
    np.testing.assert_array_equal(back.crystal1, events.crystal1)
    assert not has_delayed(tmp_path / "c.root")


@pytest.mark.parametrize("tree", ["Delayed", "delay", "sim/delay", "delayedCoincidences"])
def test_delayed_trees(tmp_path, scanner, events, centres_mm, tree) -> None:
    """Prompts are those of Coincidences, also where a chain of both is in the file."""
    with uproot.recreate(tmp_path / "c.root") as file:
        for name, num in (("finalCoinc", 30), ("Coincidences", 20), (tree, 10)):
            ends = [centres_mm[ids[:num]] for ids in (events.crystal1, events.crystal2)]
            columns = [*ends[0].T, *ends[1].T, np.zeros(num), np.zeros(num)]
            file[name] = dict(zip(GATE9, columns, strict=True))
    ring = crystals.of_scanner(scanner)
    assert has_delayed(tmp_path / "c.root")
    assert len(read_gate(tmp_path / "c.root", ring)) == 20
    assert len(read_gate(tmp_path / "c.root", ring, is_delayed=True)) == 10


def test_two_trees_of_one_name_are_refused(tmp_path, scanner, centres_mm) -> None:
    columns = [*centres_mm[:5].T, *centres_mm[:5].T, np.zeros(5), np.zeros(5)]
    with uproot.recreate(tmp_path / "c.root") as file:
        for folder in "ab":
            file[f"{folder}/Coincidences"] = dict(zip(GATE9, columns, strict=True))
    with pytest.raises(InputError, match="got the trees a/Coincidences, b/Coincidences, expected"):
        read_gate(tmp_path / "c.root", crystals.of_scanner(scanner))


def test_strays_are_left_out_with_their_coincidences(
    tmp_path, scanner, events, centres_mm, caplog
) -> None:
    ends = [centres_mm[events.crystal1], centres_mm[events.crystal2].copy()]
    ends[1][7] = [0.0, 30.0, 1.0]  # in the bore
    times = np.arange(200.0)
    write(tmp_path / "c.root", GATE10, *ends, times, times)
    back = read_gate(tmp_path / "c.root", crystals.of_scanner(scanner))
    np.testing.assert_array_equal(back.crystal1, np.delete(events.crystal1, 7))
    np.testing.assert_allclose(back.time_s, np.delete(times, 7) * 1e-9)
    assert "1 of 400 singles lie in no crystal" in caplog.text
