"""One acquisition in every format gives the same crystals of the scanner."""

import os
from pathlib import Path

import numpy as np
import pytest
import uproot
from tests.unit.formats.test_gate import GATE9, GATE10, write

from tubepet.errors import InputError
from tubepet.formats import castor, petsird, tables
from tubepet.formats.measured import read_measured
from tubepet.reconstruct.scanner import crystals
from tubepet.simulate.coincidences import write_empty
from tubepet.types import Listmode, Scanner


@pytest.fixture
def events(scanner: Scanner) -> Listmode:
    """Pairs across the ring."""
    rng, half = np.random.default_rng(0), scanner.num_columns // 2
    columns, rings = rng.integers(half, size=50), rng.integers(scanner.num_rings, size=(2, 50))
    first = (rings[0] * scanner.num_columns + columns).astype(np.int32)
    second = (rings[1] * scanner.num_columns + columns + half).astype(np.int32)
    return Listmode(first, second, np.zeros(50), np.zeros(50, np.uint8))


@pytest.mark.parametrize(
    ("name", "has_delayed"),
    [
        ("9.root", False),
        ("10.root", False),
        ("c.cdh", False),
        ("c.petsird", True),
        ("l.csv", False),
    ],
)
def test_every_format_gives_the_same_crystals(
    scanner, centres_mm, events, tmp_path, name, has_delayed
) -> None:
    ring = crystals.of_scanner(scanner)
    path, times = tmp_path / name, np.arange(50.0)
    pairs = events.crystal1, events.crystal2
    if path.suffix == ".root":
        names = GATE9 if name[0] == "9" else GATE10
        write(path, names, *(centres_mm[ids] for ids in pairs), times, times)
    elif path.suffix == ".cdh":
        castor.write_castor(path, events, "ring", 1.0, 300.0)
    elif path.suffix == ".petsird":
        # the crystals of the file stand in another order
        order = np.random.default_rng(1).permutation(len(ring))
        place = np.argsort(order)
        columns = ring.points_mm, ring.normals, ring.areas_mm2, ring.efficiency
        shuffled = crystals.Crystals(*(column[order] for column in columns))
        moved = Listmode(*(place[ids].astype(np.int32) for ids in pairs), times, events.truth)
        petsird.write_petsird(path, shuffled, moved, moved.at(np.arange(5)), 0.002, 300.0)
    else:
        tables.write_lines(path, ring.points_mm[np.stack(pairs, axis=1)])
    prompts, delayed, facts = read_measured(path, scanner)
    np.testing.assert_array_equal(sides(prompts), sides(events))
    assert (delayed is not None) == has_delayed
    seconds = {".cdh": 1.0, ".petsird": 0.002}
    assert facts.duration_s == seconds.get(path.suffix)
    if delayed is not None:
        np.testing.assert_array_equal(sides(delayed), sides(events)[:5])


def sides(events: Listmode) -> np.ndarray:
    """Return both crystals of each pair; which is first is the format's choice."""
    return np.sort(np.stack([events.crystal1, events.crystal2], axis=1), axis=1)


def test_the_delayed_tree_is_read_where_there_is_one(scanner, centres_mm, events, tmp_path) -> None:
    ends = [centres_mm[ids] for ids in (events.crystal1, events.crystal2)]
    columns = [*ends[0].T, *ends[1].T, np.zeros(50), np.zeros(50)]
    with uproot.recreate(tmp_path / "c.root") as file:
        for tree, num in (("Coincidences", 50), ("Delayed", 7)):
            file[tree] = {key: c[:num] for key, c in zip(GATE10, columns, strict=True)}
    _, delayed, _ = read_measured(tmp_path / "c.root", scanner)
    assert delayed is not None
    np.testing.assert_array_equal(sides(delayed), sides(events)[:7])


def test_a_file_without_events_is_named(scanner, tmp_path) -> None:
    write_empty(tmp_path / "c.root")
    with pytest.raises(InputError, match=r"c\.root: got no coincidences, expected at least one"):
        read_measured(tmp_path / "c.root", scanner)


def test_a_file_of_another_scanner_is_refused(scanner, events, tmp_path) -> None:
    """Twice as many crystals on the same cylinder: two of the file for one of the scanner."""
    ring = crystals.of_scanner(scanner)
    columns = ring.points_mm, ring.normals, ring.areas_mm2, ring.efficiency
    double = crystals.Crystals(*(np.concatenate([c, c]) for c in columns))
    double.points_mm[len(ring) :, 2] += 0.05
    path = Path(tmp_path / "c.petsird")
    petsird.write_petsird(path, double, events, events, 0.002, 300.0)
    with pytest.raises(InputError, match="crystals that are not those of --scanner"):
        read_measured(path, scanner)
    far = ring.points_mm[:2] * 3
    tables.write_lines(tmp_path / "l.csv", far[None])
    with pytest.raises(InputError, match=r"expected about the .* of the crystals"):
        read_measured(tmp_path / "l.csv", scanner)


def test_what_a_calibrated_scanner_does_not_take_from_a_header(
    scanner, events, tmp_path, caplog
) -> None:
    path = tmp_path / "c.cdh"
    castor.write_castor(path, events, "ring", 1.0, 300.0)
    plain = path.read_text()
    path.write_text(plain + "Calibration factor: 3\nMaximum axial difference mm: 1000\n")
    read_measured(path, scanner)
    assert "calibration factor is left out" in caplog.text
    path.write_text(plain + "Maximum axial difference mm: 5\n")
    with pytest.raises(InputError, match="Maximum axial difference mm: got 5, expected that of"):
        read_measured(path, scanner)


@pytest.mark.parametrize("name", ["p.cdh", "p.petsird", "p.root"])
def test_a_pipe_is_not_waited_for(scanner, tmp_path, name) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}: expected a regular file, got a pipe"):
        read_measured(tmp_path / name, scanner)
