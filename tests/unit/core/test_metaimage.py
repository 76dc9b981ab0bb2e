"""Impossible MetaImage headers; `test_io` compares possible ones with ITK."""

import zlib

import numpy as np
import pytest

from tubepet import io
from tubepet.errors import InputError

HEAD = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -1 2 3
ElementSpacing = 1 2 3
DimSize = 4 3 2
ElementType = MET_FLOAT
ElementDataFile = LOCAL
"""
VOXELS = np.arange(24, dtype="<f4").tobytes()


def written(tmp_path, old: str = "", new: str = "", voxels: bytes = VOXELS):
    assert old in HEAD
    (tmp_path / "v.mha").write_bytes((HEAD.replace(old, new) if old else HEAD).encode() + voxels)
    return tmp_path / "v.mha"


def test_byte_orders_and_names(tmp_path) -> None:
    image = io.read_volume(written(tmp_path))
    assert image.array.tolist() == np.arange(24.0).reshape(2, 3, 4).tolist()
    assert image.grid.voxel_mm == (3, 2, 1) and image.grid.origin_mm == (3, 2, -1)
    swapped = np.arange(24, dtype=">f4").tobytes()
    other = io.read_volume(written(tmp_path, "MSB = False", "MSB = True", swapped))
    assert np.array_equal(other.array, image.array)
    (tmp_path / "v.mha").rename(tmp_path / "named.otherwise")
    assert np.array_equal(io.read_volume(tmp_path / "named.otherwise").array, image.array)


@pytest.mark.parametrize(
    ("old", "new", "voxels", "sentence"),
    [
        ("4 3 2", "40000 40000 40000", VOXELS, "expected at most 4294967296"),
        ("4 3 2", "4 3", VOXELS, "expected 3 numbers"),
        ("4 3 2", "4 -3 -2", VOXELS, "sizes above 0"),
        ("4 3 2", "4 3 nan", VOXELS, "finite numbers"),
        ("NDims = 3", "NDims = 2", VOXELS, "expected 3"),
        ("MET_FLOAT", "MET_STRING", VOXELS, "expected one of MET_CHAR"),
        ("= 1 2 3", "= 1 0 3", VOXELS, "above 0"),
        ("-1 2 3", "-1 2 1e9", VOXELS, "finite numbers"),
        ("1 0 0 0 1 0 0 0 1", "0 0 0 0 0 0 0 0 0", VOXELS, "expected a NIfTI volume"),
        ("1 0 0 0 1 0 0 0 1", "0.8 0.6 0 -0.6 0.8 0 0 0 1", VOXELS, "oblique axes"),
        ("LOCAL", "LIST", b"", "expected one beside its header"),
        ("LOCAL", "L\0CAL", b"", "beside its header"),
        ("LOCAL", "../v.raw", b"", "beside its header"),
        ("", "", VOXELS[:-1], "got 95 bytes of voxels, expected 96"),
        ("", "", VOXELS[:-4] + b"\0\0\xc0\x7f", "NaN"),
        ("CompressedData = False", "CompressedData = True", zlib.compress(bytes(2**24)), "got 97"),
        ("CompressedData = False", "CompressedData = True", b"no zlib", "damaged"),
    ],
)  # fmt: skip
def test_headers_that_cannot_be(tmp_path, old, new, voxels, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        io.read_volume(written(tmp_path, old, new, voxels))
