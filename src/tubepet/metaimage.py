"""A safe reader of MetaImage (.mha, .mhd): ITK's own ends the process at odd headers.

The header has lines ``key = value``. Its last key, ElementDataFile, tells where the voxels are:
LOCAL (behind the header) or in a file beside it. Sources: https://itk.org/Wiki/MetaIO/Documentation
and ITK's itkMetaImageIO.cxx (rows of TransformMatrix are the directions of the axes).

Simplified: three axes, one number per voxel, one file of voxels without a header of its own.
"""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubepet.bounds import MAX_MM, check_bytes, check_mm, is_file
from tubepet.errors import InputError

LAST = b"ElementDataFile"
MAX_HEADER_BYTES = 1 << 16
KINDS = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
ORIGINS, MATRICES = ("Offset", "Position", "Origin"), ("TransformMatrix", "Orientation", "Rotation")
ORDERS = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
ALONG = "1 0 0 0 1 0 0 0 1"
# Keys with one value that can be read; another value means another kind of file.
PLAIN = {"NDims": "3", "ElementNumberOfChannels": "1", "BinaryData": "true", "HeaderSize": "0"}


@dataclass(frozen=True)
class MetaImage:
    """What a file holds.

    Attributes
    ----------
    array : array, shape (Z, Y, X)
    spacing_mm, origin_mm : list of float
        x, y, z.
    direction : float64 array, shape (3, 3)
        Columns are the directions of the axes.
    note : str
    """

    array: NDArray[np.generic]
    spacing_mm: list[float]
    origin_mm: list[float]
    direction: NDArray[np.float64]
    note: str


def is_header(head: bytes) -> bool:
    """Whether a file that begins so is a MetaImage."""
    return LAST in head and head.lstrip().startswith((b"ObjectType", b"NDims", b"Comment"))


def read(path: Path, max_bytes: int, note_key: str) -> MetaImage:
    """Read a file with at most `max_bytes` of voxels; its key `note_key` holds the note.

    Raises
    ------
    InputError
        If it is damaged, another kind of MetaImage, too large, or holds NaN.
    """
    with path.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    start = head.index(b"\n", head.index(LAST)) + 1 if b"\n" in head[head.index(LAST) :] else None
    lines = head[:start].decode("utf-8", "replace").splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (ln.partition("=") for ln in lines)}
    for key, value in PLAIN.items():
        if fields.get(key, value).lower() != value:
            raise InputError(f"{path}: {key}: got {fields[key]!r:.40}, expected {value}")
    shape = [int(n) for n in _numbers(path, fields, ("DimSize",), 3)][::-1]
    kind = KINDS.get(fields.get("ElementType", ""))
    if kind is None or min(shape) < 1:
        raise InputError(
            f"{path}: got ElementType {fields.get('ElementType')!r:.40}, DimSize {shape[::-1]}, "
            f"expected one of {', '.join(KINDS)}, and sizes above 0"
        )
    is_msb = any(fields.get(key, "").lower() == "true" for key in ORDERS)
    dtype = np.dtype(kind).newbyteorder(">" if is_msb else "<")
    wanted = math.prod(shape) * dtype.itemsize
    if wanted > max_bytes:
        raise InputError(f"{path}: got {wanted} bytes of voxels, expected at most {max_bytes}")
    is_packed = fields.get("CompressedData", "").lower() == "true"
    voxels = _voxels(path, fields[LAST.decode()], start or len(head), wanted, is_packed)
    array = np.frombuffer(voxels, dtype).astype(dtype.newbyteorder("=")).reshape(shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"{path}: got NaN or infinite values, expected numbers")
    spacing_mm = _numbers(path, fields, ("ElementSpacing", "ElementSize"), 3, "1 1 1")
    if not min(spacing_mm) > 0:
        raise InputError(f"{path}: ElementSpacing: got {spacing_mm}, expected mm above 0")
    rows = np.array(_numbers(path, fields, MATRICES, 9, ALONG)).reshape(3, 3)
    return MetaImage(
        array, spacing_mm, _numbers(path, fields, ORIGINS, 3, "0 0 0"), rows.T,
        fields.get(note_key, ""),
    )  # fmt: skip


def _numbers(
    path: Path, fields: dict[str, str], keys: tuple[str, ...], num: int, default: str = ""
) -> list[float]:
    """Return the numbers of the first of several keys that the header has."""
    key = next((key for key in keys if key in fields), keys[0])
    try:
        found = [float(word) for word in fields.get(key, default).split()]
    except ValueError:
        found = []
    if len(found) != num:
        raise InputError(f"{path}: {key}: got {fields.get(key)!r:.40}, expected {num} numbers")
    check_mm(path, f"{key} (at most {MAX_MM:g})", np.array(found))
    return found


def _voxels(path: Path, name: str, start: int, wanted: int, is_packed: bool) -> bytes:
    """Return the bytes of the voxels, no more than wanted."""
    beside = path.parent / name
    is_there = Path(name).name == name and is_file(beside) and not beside.is_symlink()
    if name != "LOCAL" and not is_there:
        raise InputError(f"{path}: got the data file {name!r}, expected one beside its header")
    source = path if name == "LOCAL" else beside
    check_bytes(source, wanted + MAX_HEADER_BYTES + start)
    data = source.read_bytes()[start if name == "LOCAL" else 0 :]
    if is_packed:
        stream = zlib.decompressobj()
        data = stream.decompress(data, wanted + 1)
    if len(data) != wanted:
        raise InputError(f"{path}: got {len(data)} bytes of voxels, expected {wanted}")
    return data
