"""Every reader accepts the files of its writer, and raises only `InputError` for changed ones.

Changes are random with a seed; those of `make fuzz` are guided by coverage.
"""

import importlib.util
import io
import math
import struct
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import uproot

from tests.fuzz.fuzz import ROOT, WORDS, Watch, feed, in_place_of_a_number
from tests.fuzz.readers import READERS, RING, Reader, check_numbers
from tubepet.errors import InputError
from tubepet.training.checkpoint import load_checkpoint

NUM_CHANGES = 60
INTERESTING = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"-1",
    b"1e999",
    b"nan",
    b"9" * 40,
)


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    return Watch(tmp_path_factory.mktemp("fuzz"))  # a hook of the interpreter is there for good


def changed(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut, flip, overwrite or repeat a part."""
    whole, where = bytearray(data), int(rng.integers(len(data)))
    kind, size = int(rng.integers(5)), int(rng.integers(1, 9))
    if kind == 0:
        return bytes(whole[:where])
    if kind == 1:
        whole[where] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        new = INTERESTING[int(rng.integers(len(INTERESTING)))]
        whole[where : where + len(new)] = new
    elif kind == 3:
        whole[where:where] = whole[where : where + 8 * size]
    else:
        del whole[where : where + size]
    return bytes(whole)


@pytest.mark.parametrize("name", READERS)
def test_only_input_errors_come_out(name, watch):
    reader, folder = READERS[name], watch.folder / name
    folder.mkdir()
    data = reader.seed(folder)
    path = folder / reader.name
    path.write_bytes(reader.pack(data))
    with watch:
        reader.read(path)
    rng = np.random.default_rng(sum(name.encode()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parsers, on values that are refused later
        for _ in range(NUM_CHANGES):
            feed(reader, folder, watch, changed(data, rng))


def nifti(data: bytes, dims: tuple[int, int, int], kind: int = 16, bits: int = 32) -> bytes:
    """Write another size and kind of voxel into a NIfTI header."""
    whole = bytearray(data)
    struct.pack_into("<3h", whole, 42, *dims)
    struct.pack_into("<2h", whole, 70, kind, bits)
    return bytes(whole)


def archive(data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as whole:
        whole.writestr("a.npy", data)
    return file.getvalue()


def dicom(data: bytes, number: int, kind: bytes, value: bytes) -> bytes:
    """Write another value into a short element of group 0028."""
    start = data.index(struct.pack("<2H", 0x28, number))
    (size,) = struct.unpack_from("<H", data, start + 6)
    element = data[start : start + 4] + kind + struct.pack("<H", len(value)) + value
    return data[:start] + element + data[start + 8 + size :]


def many_keys(data: bytes) -> bytes:
    """Write 2^30 as the number of keys of the first directory of a ROOT file."""
    with uproot.open(io.BytesIO(data)) as file:
        start = file._fSeekKeys
    (length,) = struct.unpack_from(">h", data, start + 14)  # of the key before the number
    whole = bytearray(data)
    struct.pack_into(">i", whole, start + length, 1 << 30)
    return bytes(whole)


# What once came out as another exception, filled the memory or was read: reader, and the change.
FOUND = {
    "a number of 5000 digits": ("calibration", lambda data: b"9" * 5000),
    "JSON that is no object": ("calibration", lambda data: b"[]"),
    "an infinite efficiency": ("calibration", lambda data: data.replace(b"0.5", b"1e999", 1)),
    "an archive of arrays": ("array", archive),
    "an image of 10^13 voxels": ("volume", lambda data: nifti(data, (30000, 30000, 30000))),
    "an image of 2 GB in a small file": ("volume", lambda data: nifti(data, (800, 800, 800))),
    "an image with 80 MB behind it": ("volume", lambda data: data + bytes(80 << 20)),
    "an image in colours": ("volume", lambda data: nifti(data, (4, 4, 3), 128, 24)),
    "a network of a million channels": (
        "generator_json", lambda data: data.replace(b'"channels": 8', b'"channels": 1000000'),
    ),
    "a model that is a list": ("generator_json", lambda data: data.replace(b'"vae"', b"[]")),
    "a number that is a text": ("generator_json", lambda data: data.replace(b"2.0", b'"x"')),
    "a gzip file of bad blocks": (
        "lines_measured", lambda data: b"\x1f\x8b\x08" + bytes(7) + b"\x08" * 40,
    ),
    "-1 axes, which end ITK": (
        "volume_metaimage", lambda data: data.replace(b"NDims = 3", b"NDims = -1"),
    ),
    "10^9 rings": ("scanner", lambda data: data.replace(b"rings: 4", b"rings: 999999999")),
    "a scanner of words": ("scanner", lambda data: data.replace(b"rings: 4", b"rings: four")),
    "a day of month 13": ("scanner", lambda data: b"scanner: 2020-13-45"),
    "readers of the test without a list": (
        "turing", lambda data: data.replace(b'["real", "vae"]', b"7"),
    ),
    "an answer after 10^400 ms": ("turing", lambda data: data.replace(b"900", b"9" * 400)),
    "a directory of 2^30 keys": ("root", many_keys),
    "a name of 300 letters": (
        "castor_header", lambda data: data.replace(b"c.cdf", b"c" * 300 + b".cdf"),
    ),
    "a name of 300 letters beside an image": (
        "volume_metaimage", lambda data: data.replace(b"LOCAL", b"v" * 300),
    ),
    "-1 shifts of sectors": (
        "castor_geom", lambda data: data.replace(b"nbZShift: 1", b"nbZShift: -1"),
    ),
    "voxels of 1e6 mm": (
        "volume", lambda data: data[:80] + struct.pack("<f", 1e6) + data[84:],
    ),
    "an image 1e6 mm away": (
        "volume_plain", lambda data: data[:292] + struct.pack("<f", 1e6) + data[296:],
    ),
    "an axis of NaN, with which ITK never ends": (
        "volume_plain", lambda data: data[:304] + struct.pack("<f", math.nan) + data[308:],
    ),
    "a duration that is none": (
        "enhancer_json", lambda data: data.replace(b'"long_s": 1.0', b'"long_s": NaN'),
    ),
    "half a surrogate pair": ("turing", lambda data: data.replace(b'"r"', b'"\\ud800"')),
    "rows that are two numbers": ("dicom", lambda data: dicom(data, 0x10, b"US", b"\4\0\4\0")),
    "rows that are a text": ("dicom", lambda data: dicom(data, 0x10, b"LO", b"four")),
    "a slope that is a list": ("dicom", lambda data: dicom(data, 0x1053, b"DS", b"1\\1 ")),
    "a header key of 5000 digits": (
        "castor_header", lambda data: data.replace(b"events: 3", b"events: " + b"3" * 5000),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_what_was_found_is_refused(case, tmp_path):
    name, change = FOUND[case]
    reader = READERS[name]
    data = reader.seed(tmp_path)
    assert change(data) != data
    (tmp_path / reader.name).write_bytes(reader.pack(change(data)))
    with pytest.raises(InputError, match=r"[a-z]+"):
        reader.read(tmp_path / reader.name)


@pytest.mark.parametrize("pickle", [b"\x80\x02.", b"\x80\x02q\x00.", b"\x80\x02h\x07.", b"(d0\n."])
def test_pickles_that_pytorch_does_not_foresee_are_ignored(tmp_path, pickle):
    reader = READERS["checkpoint_pickle"]
    (tmp_path / reader.name).write_bytes(reader.pack(pickle))
    assert load_checkpoint(tmp_path / reader.name, "digest") is None


def test_the_watch_sees_writes_and_programs(watch):
    with pytest.raises(AssertionError, match="write"), watch:
        open("/dev/shm/escaped", "w")
    with pytest.raises(AssertionError, match="call"), watch:
        subprocess.run(["true"], check=True)


@pytest.mark.parametrize(
    ("made", "what"),
    [
        ({"a": [1.0, float("nan")]}, "finite was taken: a"),
        ((np.ones(3), np.array([0.0, np.inf])), "finite was taken"),
        ({"wall_mm": 2e5}, "length of more than 100000.0 mm was taken: wall_mm"),
        (replace(RING, points_mm=1e300 * RING.points_mm), "was taken: points_mm"),
    ],
)
def test_numbers_that_are_none_are_a_fault(made, what):
    check_numbers([RING, {"a": [1.0, "nan"], "wall_mm": 2.0}, np.arange(3)])
    with pytest.raises(AssertionError, match=what):
        check_numbers(made)


def test_sentences_that_no_terminal_shows_are_a_fault(watch):
    def read(path):
        error = InputError("")
        error.args = ("\ud800",)
        raise error

    with pytest.raises(AssertionError, match="no terminal shows"):
        feed(Reader("any", lambda folder: None, read), watch.folder, watch, b"")


def test_a_word_takes_the_place_of_one_number():
    made = {in_place_of_a_number(b"x: 3.5e1, y: -2", 1 << 16, seed) for seed in range(1000)}
    expected = {b"x: " + word.ljust(5) + b", y: -2" for word in WORDS}
    assert made == expected | {b"x: 3.5e1, y: " + word.ljust(2) for word in WORDS}
    assert in_place_of_a_number(b"none", 5, 1) in {(word + b"none")[:5] for word in WORDS}


def test_a_word_takes_spaces_behind_it_so_that_lengths_stay():
    made = {in_place_of_a_number(b"(3)" + b" " * 20 + b"\n", 1 << 16, s) for s in range(1000)}
    assert {len(one) for one in made if len(one) < 100} == {24}
    assert b"(999999999)" + b" " * 12 + b"\n" in made


def test_a_file_that_takes_long_is_a_fault(watch, monkeypatch):
    monkeypatch.setattr("tests.fuzz.fuzz.LIMIT_S", 0)
    reader = Reader("any", lambda folder: None, lambda path: sum(range(10**5)))
    with pytest.raises(AssertionError, match="s of CPU, expected at most 0"):
        feed(reader, watch.folder, watch, b"")


def test_the_fuzzer_runs(tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("needs atheris (dependency group fuzz)")
    command = [sys.executable, "-m", "tests.fuzz.fuzz", "castor_header", "--seconds", "1"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "faults: none" in done.stdout
