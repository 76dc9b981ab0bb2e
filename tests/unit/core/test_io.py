import gzip
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
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


LUMPS = np.random.default_rng(3).integers(0, 30_000, (5, 7, 9)).astype(np.int16)
PLACE = Grid((5, 7, 9), (2.0, 1.5, 1.0), (-4.0, 6.0, 3.0))  # no two axes alike


def as_image(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(PLACE.voxel_mm[::-1])
    image.SetOrigin(PLACE.origin_mm[::-1])
    return image


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.mhd", "v.mha"])
@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.uint8, np.int32, np.float32, np.float64])
def test_ordinary_kinds_of_volumes(tmp_path, name, kind):
    values = (LUMPS % 200).astype(kind)
    sitk.WriteImage(as_image(values), str(tmp_path / name))
    back = io.read_volume(tmp_path / name)
    assert np.array_equal(back.array, values) and back.grid == PLACE


@pytest.mark.parametrize("name", ["v.nii.gz", "v.mhd", "v.mha"])
@pytest.mark.parametrize("axes", ["RAS", "LAS", "RPI", "PSR", "SLA"])
def test_axes_of_any_sign_and_order_are_turned(tmp_path, axes, name):
    """Every voxel stays where it was: values are looked up by place, not by index."""
    turned = sitk.DICOMOrient(as_image(LUMPS), axes)
    sitk.WriteImage(turned, str(tmp_path / name), useCompression=name == "v.mha")
    back = io.read_volume(tmp_path / name)
    assert np.array_equal(back.array, LUMPS)
    assert np.allclose(back.grid.origin_mm, PLACE.origin_mm) and back.grid.shape == PLACE.shape
    assert np.allclose(back.grid.voxel_mm, PLACE.voxel_mm)


def nifti_bytes(path: Path, array: np.ndarray) -> bytearray:
    """Bytes of an unpacked NIfTI file."""
    sitk.WriteImage(as_image(array), str(path))
    return bytearray(path.read_bytes())


def test_scaled_integers_are_scaled(tmp_path):
    data = nifti_bytes(tmp_path / "v.nii", LUMPS)
    data[112:120] = struct.pack("<2f", 3e-7, 0.001)  # scl_slope, scl_inter (NIfTI-1 standard)
    for name, content in (("s.nii", data), ("s.nii.gz", gzip.compress(data))):
        (tmp_path / name).write_bytes(content)
        back = io.read_volume(tmp_path / name).array
        np.testing.assert_allclose(back, LUMPS * 3e-7 + 0.001, rtol=1e-6)  # float32


def test_a_slope_that_makes_integers_infinite_is_refused(tmp_path):
    data = nifti_bytes(tmp_path / "v.nii", LUMPS)
    data[112:120] = struct.pack("<2f", 1e38, 0.0)
    (tmp_path / "v.nii").write_bytes(data)
    with pytest.raises(InputError, match=r"v\.nii: got values that 32 bits do not hold"):
        io.read_volume(tmp_path / "v.nii")


def test_voxels_without_a_size_are_refused(tmp_path):
    """Sizes are rounded to 1e-6 mm, for NIfTI holds float32."""
    data = nifti_bytes(tmp_path / "v.nii", LUMPS)
    data[80:84] = struct.pack("<f", 1e-38)  # pixdim[1], along x
    (tmp_path / "v.nii").write_bytes(data)
    with pytest.raises(InputError, match=r"v\.nii: (got voxels of 0 x|expected a NIfTI)"):
        io.read_volume(tmp_path / "v.nii")


def test_the_content_says_what_a_file_is(tmp_path):
    data = nifti_bytes(tmp_path / "v.nii", LUMPS)
    for name, content in (("packed.nii", gzip.compress(data)), ("plain.nii.gz", data), ("v", data)):
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(io.read_volume(tmp_path / name).array, LUMPS)


def test_nan_in_a_volume_is_refused(tmp_path):
    """ITK reads NaN of a NIfTI file as 0, without a word."""
    for kind in ("<f4", ">f4", "<f8"):
        values = LUMPS.astype(kind[1:])
        data = nifti_bytes(tmp_path / "v.nii", values)
        (tmp_path / "v.nii").write_bytes(data[:352] + values.astype(kind).tobytes())
        if kind[0] == "<":
            io.read_volume(tmp_path / "v.nii")
        bad = values.astype(kind)
        bad[2, 3, 4] = np.nan
        head = data[:352] if kind[0] == "<" else swapped_header(data)
        (tmp_path / "v.nii").write_bytes(head + bad.tobytes())
        with pytest.raises(InputError, match=r"v\.nii: got NaN or infinite values"):
            io.read_volume(tmp_path / "v.nii")


def swapped_header(data: bytearray) -> bytes:
    """Return a NIfTI-1 header in the other order of bytes (fields and places: its standard)."""
    head = bytearray(data[:352])
    fields = [(0, "i", 1), (40, "h", 8), (56, "f", 3), (68, "h", 4), (76, "f", 8), (108, "f", 3)]
    fields += [(120, "h", 1), (124, "f", 4), (252, "h", 2), (256, "f", 18)]
    for start, kind, number in fields:
        size = struct.calcsize(f"<{number}{kind}")
        values = struct.unpack(f"<{number}{kind}", head[start : start + size])
        head[start : start + size] = struct.pack(f">{number}{kind}", *values)
    return bytes(head)


@pytest.mark.parametrize("is_ours", [True, False])
def test_only_what_we_made_can_be_made_again(tmp_path, is_ours):
    (tmp_path / "results").mkdir()
    path = tmp_path / "results/v.nii"
    data = nifti_bytes(path, LUMPS)
    for content in (data[:-9], b"no volume at all"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"v\.nii: ") as caught:
            io.read_volume(path, is_ours)
        assert ("made again" in str(caught.value)) == is_ours


def test_volumes_that_are_none(tmp_path):
    sitk.WriteImage(as_image(LUMPS)[:, :, 0], str(tmp_path / "flat.nii"))
    slanted = as_image(LUMPS)
    slanted.SetDirection([0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1])
    sitk.WriteImage(slanted, str(tmp_path / "slanted.nii"))
    sitk.WriteImage(sitk.JoinSeries([as_image(LUMPS)] * 2), str(tmp_path / "two.nii"))
    (tmp_path / "far.mhd").write_text(
        "NDims = 3\nDimSize = 1 1 1\nElementType = MET_CHAR\nElementDataFile = /etc/passwd\n"
    )
    for name, sentence in (
        ("flat.nii", "expected a 3D volume"), ("two.nii", "expected a 3D volume"),
        ("slanted.nii", "oblique axes"), ("far.mhd", "expected one beside its header"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=sentence):
            io.read_volume(tmp_path / name)
    sitk.WriteImage(sitk.JoinSeries([as_image(LUMPS)]), str(tmp_path / "one.nii"))
    assert np.array_equal(
        io.read_volume(tmp_path / "one.nii").array, LUMPS
    )  # one frame is a volume


def test_a_failed_writer_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.json"
    io.write_json(path, {"x": 1})
    with pytest.raises(ZeroDivisionError), io.atomic(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert io.read_json(path) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_json_has_finite_numbers(tmp_path, number):
    path = tmp_path / "a.json"
    path.write_text(f'{{"x": [1.5, {number}]}}')
    with pytest.raises(InputError, match=f"a.json: expected JSON, .*{number} is no finite number"):
        io.read_json(path)


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
