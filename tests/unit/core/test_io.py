import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from tubepet import io
from tubepet.errors import InputError
from tubepet.types import Grid, Volume

sizes = st.tuples(*[st.integers(1, 6)] * 3)
lengths = st.tuples(*[st.floats(0.25, 4.0).map(lambda v: round(v, 3))] * 3)


@given(shape=sizes, voxel_mm=lengths, corner=st.tuples(*[st.integers(-60, 60)] * 3))
def test_volume_keeps_place_and_note(tmp_path_factory, shape, voxel_mm, corner):
    path = tmp_path_factory.mktemp("volume") / "v.nii.gz"
    marker = np.zeros(shape, np.float32)
    marker[-1, 0, shape[2] // 2] = 7.5
    grid = Grid(shape, voxel_mm, tuple(float(c) for c in corner))
    io.write_volume(path, Volume(marker, grid, "Bq/mm3"))
    back = io.read_volume(path)
    assert np.array_equal(back.array, marker)
    assert back.note == "Bq/mm3"
    # NIfTI stores geometry in float32: 1e-6 relative
    assert np.allclose(back.grid.voxel_mm, grid.voxel_mm, rtol=1e-6)
    assert np.allclose(back.grid.origin_mm, grid.origin_mm, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_may_be_read_by_whom_the_umask_says(tmp_path, mask, mode):
    """Safetensors writes files that nobody else may read; a shared generator is then of no use."""
    before = os.umask(mask)
    try:
        with io.atomic(tmp_path / "a.safetensors") as part:
            save_file({"a": np.zeros(3)}, part)
        io.write_json(tmp_path / "a.json", {})
        io.write_table(tmp_path / "a.csv", pd.DataFrame({"a": [1]}))
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert len(modes) == 4 and set(modes.values()) == {mode}, modes


def test_a_failed_writer_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    io.write_json(path, {"x": 1})
    with pytest.raises(ZeroDivisionError), io.atomic(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert io.read_json(path) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


NOISE = np.random.default_rng(0).random((64, 64, 64)).astype(np.float32)  # hardly compresses


def safetensors(path):
    with io.atomic(path) as part:
        save_file({"a": NOISE}, part)


BIG_WRITERS = {
    "a.json": lambda path: io.write_json(path, NOISE.ravel()[:50_000].tolist()),
    "a.npy": lambda path: io.write_array(path, NOISE),
    "a.nii.gz": lambda path: io.write_volume(
        path, Volume(NOISE, Grid.centred((64,) * 3, (1.0,) * 3))
    ),
    "a.csv": lambda path: io.write_table(path, pd.DataFrame({"a": NOISE.ravel()})),
    "a.parquet": lambda path: io.write_table(path, pd.DataFrame({"a": NOISE.ravel()})),
    "a.safetensors": safetensors,
}


@pytest.mark.parametrize("name", BIG_WRITERS)
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, name):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        with pytest.raises(OSError, match=f"No space left on device: .*{name}"):
            BIG_WRITERS[name](tmp_path / name)
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_pickled_arrays_are_refused(tmp_path):
    path = tmp_path / "evil.npy"
    with open(path, "wb") as file:
        np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"evil\.npy"):
        io.read_array(path)


def test_same_volume_same_bytes(tmp_path: Path):
    volume = Volume(np.ones((2, 3, 4), np.float32), Grid.centred((2, 3, 4), (1.0, 1.0, 1.0)))
    for name in ("a.nii.gz", "b.nii.gz"):
        io.write_volume(tmp_path / name, volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
