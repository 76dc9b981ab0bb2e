from pathlib import Path

import numpy as np
import pytest
import uproot

from tubepet.errors import InputError
from tubepet.simulate.coincidences import (
    BRANCH_TYPES,
    branches,
    count_table,
    crystal_of,
    read_coincidences,
    write_empty,
)
from tubepet.types import Scanner


def write_events(path: Path, **values: list[float]) -> None:
    """Write two coincidences between column 0, ring 0 and the crystal opposite, ring 63."""
    data = {
        name: np.zeros(2, kind)
        for key, kind in BRANCH_TYPES.items()
        if kind != "string"
        for name in branches(key)
    }
    z_mm = 31.5 * 4.2
    data["PostPosition1_X"][:], data["PostPosition1_Z"][:] = 135, -z_mm
    data["PostPosition2_X"][:], data["PostPosition2_Z"][:] = -135, z_mm
    for name, value in values.items():
        data[name][:] = value
    with uproot.recreate(path) as file:
        file["Coincidences"] = data


def test_crystals_by_hand(scanner: Scanner) -> None:
    turn = 2 * np.pi / 184
    place = [(135.0, 0.0, -31.5), (0.0, 135.0, -31.5), (-135.0, 0.0, 31.5)]
    place.append((135 * np.cos(-turn), 135 * np.sin(-turn), 0.5))
    x, y, z = np.array(place).T
    expected = [0, 46, 63 * 184 + 92, 32 * 184 + 183]
    np.testing.assert_array_equal(crystal_of(scanner, x, y, 4.2 * z), expected)


@pytest.mark.parametrize("off_columns", [0.01, 0.4, -0.5])
def test_a_place_between_two_columns_is_no_crystal(scanner: Scanner, off_columns: float) -> None:
    """Two columns are 4.6 mm apart, so a hundredth of that is 0.05 mm."""
    turn = 2 * np.pi * (7 + off_columns) / 184
    place_mm = np.array([[135 * np.cos(turn)], [135 * np.sin(turn)], [0.5 * 4.2]])
    with pytest.raises(InputError, match="got 1 readout positions that are no crystal centres"):
        crystal_of(scanner, *place_mm)


def test_truth_codes(tmp_path: Path, scanner: Scanner) -> None:
    path = tmp_path / "c.root"
    for values, truth in (
        ({}, [0, 0]),
        ({"n_compt2": [1, 0], "n_Rayl1": [0, 2]}, [1, 1]),
        ({"EventID2": [0, 5], "n_compt1": [0, 1]}, [0, 2]),  # random, whether it scattered or not
        # intrinsic: one decay in a crystal (the bore is 125 mm wide), scattered in the tube or not
        ({"EventPosition1_X": [-100, 90], "EventPosition1_Y": [-75, 80]}, [3, 0]),
        ({"EventPosition1_Y": [130, 130], "n_compt2": [1, 0], "EventID2": [0, 5]}, [3, 2]),
    ):
        write_events(path, **values)
        events = read_coincidences(path, scanner)
        np.testing.assert_array_equal(events.truth, truth)
        np.testing.assert_array_equal(events.crystal1, 0)
        np.testing.assert_array_equal(events.crystal2, 63 * 184 + 92)


def test_time_difference_is_t2_minus_t1(tmp_path: Path, scanner: Scanner) -> None:
    write_events(tmp_path / "c.root", GlobalTime1=[1.0, 5.0], GlobalTime2=[4.0, 4.5])
    events = read_coincidences(tmp_path / "c.root", scanner)
    np.testing.assert_allclose(events.time_difference_ns, [3.0, -0.5])


def test_empty_tree_is_empty(tmp_path: Path, scanner: Scanner) -> None:
    write_empty(tmp_path / "c.root")
    events = read_coincidences(tmp_path / "c.root", scanner)
    assert len(events) == 0 and events.crystal1.dtype == np.int32


def test_empty_tree_has_gates_branches(tmp_path: Path, block) -> None:
    write_empty(tmp_path / "c.root")
    with uproot.open(tmp_path / "c.root") as ours, uproot.open(block.path) as gates:
        assert set(ours["Coincidences"].keys()) == set(gates["Coincidences"].keys())


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 0.999])
def test_cut_file_is_one_sentence(tmp_path: Path, block, share: float) -> None:
    whole = block.path.read_bytes()
    (tmp_path / "cut.root").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"cut\.root: expected a whole ROOT file"):
        read_coincidences(tmp_path / "cut.root", block.scanner)


def test_damaged_baskets_are_never_read(tmp_path: Path, block) -> None:
    """Holes in the file: an error, or untouched numbers where the hole is in an unread branch."""
    whole, events = block.path.read_bytes(), read_coincidences(block.path, block.scanner)
    num_errors = 0
    for start in range(1000, len(whole) - 5000, len(whole) // 12):
        holed = bytearray(whole)
        holed[start : start + 5000] = bytes(5000)
        (tmp_path / "bad.root").write_bytes(holed)
        try:
            found = read_coincidences(tmp_path / "bad.root", block.scanner)
        except InputError as error:
            assert "bad.root" in str(error)
            num_errors += 1
        else:
            np.testing.assert_array_equal(found.crystal1, events.crystal1)
            np.testing.assert_array_equal(found.truth, events.truth)
    assert num_errors > 3


def test_other_tree_or_text_file(tmp_path: Path, scanner: Scanner) -> None:
    (tmp_path / "text.root").write_text("no root")
    with uproot.recreate(tmp_path / "other.root") as file:
        file["Hits"] = {"EventID": np.arange(3)}
    with pytest.raises(InputError, match=r"text\.root: expected a whole ROOT file with the tree"):
        read_coincidences(tmp_path / "text.root", scanner)
    with pytest.raises(InputError, match=r"other\.root: got the trees Hits, expected also Coincid"):
        read_coincidences(tmp_path / "other.root", scanner)
    with uproot.recreate(tmp_path / "names.root") as file:
        file["Coincidences"] = {"EventID1": np.arange(3)}
    with pytest.raises(InputError, match=r"branches of Coincidences EventID1, expected also Post"):
        read_coincidences(tmp_path / "names.root", scanner)
    with pytest.raises(FileNotFoundError):
        read_coincidences(tmp_path / "none.root", scanner)


def test_times_that_are_no_numbers_are_refused(tmp_path: Path, scanner: Scanner) -> None:
    write_events(tmp_path / "c.root", GlobalTime2=[1.0, np.nan])
    with pytest.raises(InputError, match=r"c\.root: got NaN or infinite times"):
        read_coincidences(tmp_path / "c.root", scanner)


def test_another_scanner_is_refused(tmp_path: Path, scanner: Scanner) -> None:
    write_events(tmp_path / "c.root")
    other = Scanner(**{**vars(scanner), "inner_radius_mm": 150.0})
    with pytest.raises(InputError, match=r"c\.root: got 2 readout positions"):
        read_coincidences(tmp_path / "c.root", other)


def test_count_table(block) -> None:
    nothing = {key: 0 for key in block.stats} | {"tube": "dark"}
    table = count_table([block.stats, nothing])
    assert list(table.columns) == [
        "tube", "decays", "singles", "prompts", "trues", "scatters", "randoms",
        "intrinsic", "delayed", "seconds", "sensitivity", "scatter_fraction",
    ]  # fmt: skip
    stats = block.stats
    assert table["sensitivity"][0] == pytest.approx(stats["prompts"] / stats["decays"], abs=1e-4)
    assert table["scatter_fraction"][0] == pytest.approx(
        stats["scatters"] / (stats["scatters"] + stats["trues"]), abs=1e-4
    )
    assert table.loc[1, ["sensitivity", "scatter_fraction"]].isna().all()
