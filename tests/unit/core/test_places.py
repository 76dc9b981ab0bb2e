"""The places of files that no user asks for: compiled kernels, temporary files."""

import errno
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tubepet.errors import of_system

# As on a read-only disk with a home that is one too.
READ_ONLY = """
import os
os.access = lambda *_: False
import tubepet
print(os.environ.get("NUMBA_CACHE_DIR", ""), os.path.isdir(os.environ.get("NUMBA_CACHE_DIR", "")))
"""


FAULTS = """
import resource
import numpy as np
{}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(10_000_000)  # 80 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), faults())
"""


def imported(root: Path, program: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Import the package in a process of its own, without a folder for kernels."""
    given = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    given |= {"PYTHONPATH": str(root / "src"), **more}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=given, capture_output=True, text=True, check=True)


def test_kernels_have_a_place_on_a_read_only_disk(root, tmp_path) -> None:
    done = imported(root, READ_ONLY, TMPDIR=str(tmp_path))
    folder, was_there = done.stdout.split()
    assert folder.startswith(str(tmp_path)) and was_there == "True"
    assert folder in done.stderr and "set NUMBA_CACHE_DIR" in done.stderr
    assert not list(tmp_path.iterdir())  # gone with the process
    own = imported(root, READ_ONLY, NUMBA_CACHE_DIR="/own")
    assert (own.stdout, own.stderr) == ("/own False\n", "")


def test_kernels_stay_where_they_can_be_kept(root) -> None:
    done = imported(root, READ_ONLY.replace("os.access", "os.unused"))
    assert (done.stdout, done.stderr) == (" False\n", "")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_serves_the_next_array(root) -> None:
    """Its pages are cleared once, in place of once for each array."""
    first, second = map(int, imported(root, FAULTS.format("import tubepet")).stdout.split())
    assert second < first / 10
    first, second = map(int, imported(root, FAULTS.format("")).stdout.split())
    assert second > first / 2  # as it is without


def test_a_full_disk_has_a_name(monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/scratch")
    full = os.strerror(errno.ENOSPC)
    assert of_system(OSError(errno.ENOSPC, full, "a\x1b.npy")) == f"a\\x1b.npy: {full}"
    assert of_system(OSError(errno.ENOSPC, full)) == (
        f"/scratch: {full}, expected room (or another TMPDIR)"
    )
    assert of_system(BrokenPipeError(errno.EPIPE, "Broken pipe")) is None
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere"])
    with pytest.raises(FileNotFoundError) as caught:
        tempfile.gettempdir()
    assert "'/nowhere'] (set TMPDIR to" in str(of_system(caught.value))
