import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubepet.errors import InputError
from tubepet.formats import castor
from tubepet.types import Listmode

IDS = st.integers(0, 479)


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
        ("Data type: PET", "Data type: SPECT", "Data type: got 'SPECT', expected PET"),
        ("Data mode", "Datamode", "unknown line"),
        ("Number of events: 200", "Number of events: 2000000000000", "got 2400 bytes"),
        ("Number of events: 200", "Number of events: -1", "Number of events: got '-1'"),
        ("Data filename: a.cdf", "Data filename: ../a.cdf", "expected a file beside"),
        ("Scanner name: small", "Data type: PET\nScanner name: small", "double key"),
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


def test_lut(tmp_path: Path) -> None:
    values = np.arange(12, dtype="<f4")
    values.tofile(tmp_path / "s.lut")
    points, normals = castor.read_lut(tmp_path / "s.lut")
    assert points.tolist() == [[0, 1, 2], [6, 7, 8]] and normals.tolist() == [
        [3, 4, 5],
        [9, 10, 11],
    ]
    (tmp_path / "s.lut").write_bytes(b"12345")
    with pytest.raises(InputError, match="got 5 bytes, expected 24"):
        castor.read_lut(tmp_path / "s.lut")
