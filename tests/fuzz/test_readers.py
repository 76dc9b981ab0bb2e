"""Every reader takes what its writer wrote, and only `InputError` comes out of it for the rest.

Seeded changes here; `make fuzz` looks for better ones, guided by coverage.
"""

import importlib.util
import subprocess
import sys
import warnings

import numpy as np
import pytest

from tests.fuzz.fuzz import ROOT, Watch, feed
from tests.fuzz.readers import READERS

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


def test_the_watch_sees_writes_and_programs(watch):
    with pytest.raises(AssertionError, match="write"), watch:
        open("/dev/shm/escaped", "w")
    with pytest.raises(AssertionError, match="call"), watch:
        subprocess.run(["true"], check=True)


def test_the_fuzzer_runs(tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("needs atheris (dependency group fuzz)")
    command = [sys.executable, "-m", "tests.fuzz.fuzz", "castor_header", "--seconds", "1"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "faults: none" in done.stdout
