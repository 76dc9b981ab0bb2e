import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepet.errors import InputError
from tubepet.formats import castor, content, tables
from tubepet.formats.castor_scanner import read_scanner
from tubepet.formats.facts import Facts
from tubepet.types import Listmode

IDS = st.integers(0, 479)
CASES = Path(__file__).parents[4] / "shared/cases/events/castor"


@given(pairs=st.lists(st.tuples(IDS, IDS, st.floats(-5, 5)), max_size=30), fwhm_ps=st.just(300.0))
def test_round_trip(tmp_path_factory, pairs, fwhm_ps) -> None:
    path = tmp_path_factory.mktemp("castor") / "a.cdh"
    first, second, time_ns = (np.array([p[i] for p in pairs]) for i in range(3))
    events = Listmode(
        first.astype(np.int32), second.astype(np.int32), time_ns.astype(float),
        np.zeros(len(pairs), np.uint8),
    )  # fmt: skip
    castor.write_castor(path, events, "small", 0.1, fwhm_ps)
    back = castor.read_castor(path, 480)
    np.testing.assert_array_equal(back.crystal1, events.crystal1)
    np.testing.assert_array_equal(back.crystal2, events.crystal2)
    # TOF is float32: 6e-8 relative, and nothing below 1e-38 ps
    np.testing.assert_allclose(
        back.time_difference_ns, events.time_difference_ns, rtol=1e-6, atol=1e-30
    )


def test_bytes_by_hand(tmp_path: Path) -> None:
    """One event written by struct in the documented order; t1 - t2 = 250 ps is ours -0.25 ns."""
    import struct

    (tmp_path / "a.cdh").write_text(
        "Scanner name: x\nData filename: a.cdf\nNumber of events: 1\nData mode: list\n"
        "Data type: PET\nAttenuation correction flag: 1\nScatter correction flag: 1\n"
        "TOF information flag: 1\nTOF resolution (ps): 300\n"
    )
    (tmp_path / "a.cdf").write_bytes(struct.pack("<IfffII", 12, 1.5, 0.25, 250.0, 7, 9))
    (event,) = castor.read_events(tmp_path / "a.cdh")
    assert event.tolist() == (12, 1.5, 0.25, 250.0, 7, 9)
    with pytest.raises(InputError, match="corrections per event"):
        castor.read_castor(tmp_path / "a.cdh", 10)


def test_tof_sign(tmp_path: Path) -> None:
    one = Listmode(np.int32([1]), np.int32([2]), np.array([0.25]), np.zeros(1, np.uint8))
    castor.write_castor(tmp_path / "a.cdh", one, "x", 1.0, 300.0)
    assert castor.read_events(tmp_path / "a.cdh")["tof_ps"].tolist() == [-250.0]


def test_times_are_kept_to_a_millisecond(tmp_path: Path, events: Listmode) -> None:
    times = np.linspace(0, 5, len(events))
    timed = dataclasses.replace(events, time_s=times)
    castor.write_castor(tmp_path / "a.cdh", timed, "x", 5.0, 0.0)
    back = castor.read_castor(tmp_path / "a.cdh", 10**6)
    np.testing.assert_allclose(back.time_s, times, atol=0.5001e-3)
    castor.write_castor(tmp_path / "b.cdh", events, "x", 5.0, 0.0)
    assert len(castor.read_castor(tmp_path / "b.cdh", 10**6).time_s) == 0  # unknown


def test_foreign_ids_are_refused(tmp_path: Path, events: Listmode) -> None:
    castor.write_castor(tmp_path / "a.cdh", events, "small", 0.1, 0.0)
    with pytest.raises(InputError, match=r"got crystal \d+, expected 0\.\.99"):
        castor.read_castor(tmp_path / "a.cdh", 100)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("Data type: PET", "Data type: SPECT", "Data type: got 'SPECT', expected pet or 0"),
        ("Data mode", "Datamode", "expected the keys Data mode"),
        ("Data mode: list-mode", "Data mode: norm", "Data mode: got 'norm', expected list or"),
        ("Data mode: list-mode", "Data mode", "got the line 'Data mode', expected key: value"),
        ("Number of events: 200", "Number of events: 2000000000000", "got 2400 bytes"),
        ("Number of events: 200", "Number of events: -1", "Number of events: got '-1'"),
        ("Data filename: a.cdf", "Data filename: ../b.cdf", "there is no file '../b.cdf'"),
        ("Data filename: a.cdf", "Data filename: /dev/zero", "there is no file '/dev/zero'"),
        ("Data type: PET", "Data type: PET\nData Type: 1", "Data type: got two values"),
        ("Data type: PET", "Data type: PET\nGate duration (s): 1,1", "gates are not read"),
        ("Data type: PET", "Data type: PET\nEmission point flag: 1", "Emission point flag: got"),
        ("Data type: PET", "Data type: PET\nPOI capability: -1,-1,2", "POI capability: got"),
        ("Scanner name: small\n", "", "expected the keys Scanner name"),
        ("Data filename: a.cdf", "Data filename: b.cdf", "there is no file"),
    ],
)
def test_bad_headers(tmp_path: Path, events: Listmode, old: str, new: str, sentence: str) -> None:
    path = tmp_path / "a.cdh"
    castor.write_castor(path, events, "small", 0.1, 0.0)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=sentence):
        castor.read_castor(path, 480)


@given(share=st.floats(0, 0.999), content=st.binary(max_size=60))
def test_cut_and_random_files(tmp_path_factory, events: Listmode, share, content) -> None:
    folder = tmp_path_factory.mktemp("cut")
    castor.write_castor(folder / "a.cdh", events, "small", 0.1, 300.0)
    whole = (folder / "a.cdf").read_bytes()
    (folder / "a.cdf").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"a\.cdf: got \d+ bytes"):
        castor.read_castor(folder / "a.cdh", 480)
    (folder / "b.cdh").write_bytes(content)
    with pytest.raises(InputError, match=r"b\.cdh"):
        castor.read_castor(folder / "b.cdh", 480)


SPELLINGS = {
    "capitals": ("Data mode: list-mode", "Data mode: LIST-MODE"),
    "number": ("Data mode: list-mode", "Data mode: 0"),
    "case of a key": ("Data type: PET", "DATA TYPE : pet"),
    "comment": ("Number of events: 200", "Number of events: 200 # all of them"),
    "the same twice": ("Data type: PET", "Data type: PET\nData type: PET"),
    "Windows": ("\n", "\r\n"),
    "Latin-1": ("Scanner name: small", "Scanner name: klein \xb5"),
    "absolute": ("Data filename: a.cdf", "Data filename: {folder}/a.cdf"),
    "moved": ("Data filename: a.cdf", "Data filename: /data/run 1/a.cdf"),
    "below": ("Data filename: a.cdf", "Data filename: below/b.cdf"),
    "above": ("Data filename: a.cdf", "Data filename: ../{name}/a.cdf"),
    "unknown key": ("Data type: PET", "Data type: PET\nOperator: nobody"),
    "no points of interaction": ("Data type: PET", "Data type: PET\nPOI capability: -1,-1,-1"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_what_castor_reads_is_read(tmp_path: Path, events: Listmode, spelling: str) -> None:
    """Spellings and places of vDataFile::ReadInfoInHeader (CASToR 3.1)."""
    path = tmp_path / "a.cdh"
    castor.write_castor(path, events, "small", 0.1, 0.0)
    if spelling == "below":
        (tmp_path / "below").mkdir()
        (tmp_path / "a.cdf").rename(tmp_path / "below/b.cdf")
    old, new = SPELLINGS[spelling]
    text = path.read_text().replace(old, new.format(folder=tmp_path, name=tmp_path.name))
    path.write_bytes(text.encode("latin-1"))
    back = castor.read_castor(path, 480)
    np.testing.assert_array_equal(back.crystal1, events.crystal1)
    assert castor.read_facts(path).duration_s == 0.1


def test_a_header_is_known_by_what_it_says(tmp_path: Path, events: Listmode) -> None:
    castor.write_castor(tmp_path / "a.cdh", events, "small", 0.1, 0.0)
    (tmp_path / "a.txt").write_text((tmp_path / "a.cdh").read_text())
    (tmp_path / "b.txt").write_text("x1_mm,y1_mm\n")
    names = ("a.cdh", "a.txt", "b.txt")
    assert [content.kind_of(tmp_path / name) for name in names] == ["castor", "castor", "table"]


def add(path: Path, *lines: str) -> None:
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))


def test_facts_of_the_header(tmp_path: Path, events: Listmode, caplog) -> None:
    path = tmp_path / "a.cdh"
    castor.write_castor(path, events, "small", 600.0, 0.0)
    assert castor.read_facts(path) == Facts(600.0)
    add(
        path,
        "Isotope: F-18",
        "Calibration factor: 2.5",
        "Horizontal bed relative position (mm): 50",
    )
    add(path, "Maximum axial difference mm: 30", "Operator: nobody")
    assert castor.read_facts(path) == Facts(600.0, "F-18", 2.5, 50.0, 30.0)
    assert "no keys of CASToR's, left out: 'Operator'" in caplog.text


@pytest.mark.parametrize(
    "line",
    ["Calibration factor: 0", "Calibration factor: nan", "Duration (s): -1", "Duration (s): 1e99",
     "Horizontal bed relative position (mm): inf", "Isotope: F18\nIsotope: C11"],
)  # fmt: skip
def test_facts_that_cannot_be(tmp_path: Path, events: Listmode, line: str) -> None:
    path = tmp_path / "a.cdh"
    castor.write_castor(path, events, "small", 600.0, 0.0)
    path.write_text(path.read_text().replace("Duration (s): 600.0\n", ""))
    add(path, line)
    with pytest.raises(InputError, match=r"a\.cdh: (Calib|Dura|Horiz|'Isotope': got two values)"):
        castor.read_facts(path)


@pytest.mark.parametrize(
    ("start_s", "first_s"), [("0", 0.0), ("100", 100.0), ("100", 0.0), ("-5", -5.0)]
)
def test_times_count_from_the_start(tmp_path, events, start_s, first_s) -> None:
    """By CASToR times are of the start's clock; some programs count them from the start itself."""
    path, times_s = tmp_path / "a.cdh", np.linspace(5, 60, len(events)).round(3)
    clock = dataclasses.replace(events, time_s=times_s + first_s)
    castor.write_castor(path, clock, "small", 60.0, 0.0)
    text = path.read_text().replace("Start time (s): 0", f"Start time (s): {start_s}")
    path.write_text(text)
    # whole ms
    np.testing.assert_allclose(castor.read_castor(path, 480).time_s, times_s, atol=1e-6)


def test_times_of_neither_clock(tmp_path: Path, events: Listmode) -> None:
    path, times_s = tmp_path / "a.cdh", np.linspace(0, 200, len(events))
    timed = dataclasses.replace(events, time_s=times_s)
    castor.write_castor(path, timed, "small", 60.0, 0.0)
    path.write_text(path.read_text().replace("Start time (s): 0", "Start time (s): 100"))
    with pytest.raises(InputError, match="got events from 0 to 200 s, expected 100 to 160 s"):
        castor.read_castor(path, 480)


def test_a_file_larger_than_memory_is_not_read(tmp_path: Path, events: Listmode) -> None:
    """A file of holes: 1.2 TB, of which nothing is on the disk."""
    path, num = tmp_path / "a.cdh", 10**11
    castor.write_castor(path, events, "small", 1.0, 0.0)
    path.write_text(path.read_text().replace("events: 200", f"events: {num}"))
    try:
        with (tmp_path / "a.cdf").open("r+b") as file:
            file.truncate(12 * num)
    except OSError:
        pytest.skip("this file system has no files of this size")
    with pytest.raises(InputError, match=r"a\.cdf: got events that need 7\.6e\+03 GB of memory"):
        castor.read_castor(path, 480)


def test_headers_are_small_texts(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.cdh")
    (tmp_path / "z.cdh").write_bytes(b"\0")
    (tmp_path / "l.cdh").write_bytes(b"#" * (2**20 + 1))
    for name, reason in (("p", "pipe"), ("z", "got a binary"), ("l", "at most 1048576")):
        with pytest.raises(InputError, match=rf"{name}\.cdh: .*{reason}"):
            castor.read_header(tmp_path / f"{name}.cdh")


def test_the_shared_headers(caplog) -> None:
    """Seven headers of one file of 3000 events and 600 s, and a table of its 960 crystals."""
    if not CASES.is_dir():
        pytest.skip(f"no shared cases at {CASES}")
    headers = sorted(CASES.glob("c_*.cdh"))
    read = [castor.read_castor(path, 960) for path in headers]
    assert len(read) == 7
    for path, events in zip(headers, read, strict=True):
        np.testing.assert_array_equal(events.crystal1, read[0].crystal1)
        assert len(events) == 3000 and castor.read_facts(path).duration_s == 600
    assert castor.read_facts(CASES / "c_bed.cdh").bed_mm == 50
    assert "no file '/data/c.cdf': c.cdf beside it is read" in caplog.text
    ring, table = read_scanner(CASES / "ring60.lut"), tables.read_crystals(CASES / "cr.csv")
    np.testing.assert_allclose(ring.points_mm, table.points_mm, atol=1e-5)  # float32
    np.testing.assert_allclose(ring.normals, table.normals, atol=1e-6)
