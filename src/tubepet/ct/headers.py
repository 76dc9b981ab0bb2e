"""Read headers of DICOM files and decide which files are CT slices (stage 04).

Medical folders also hold dose reports, scouts, reformats, other modalities. A file without axial
slices in HU raises `LeftOut` with the reason, a slice with an impossible header `InputError`.

References
----------
DICOM PS3.3, sections C.7.6.2 (image plane), C.8.2.1 (CT image), C.11.1 (modality LUT), C.7.6.16
(functional groups of enhanced objects).
"""

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import data_element_generator, read_partial
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
)

from tubepet.bounds import MAX_MM
from tubepet.ct.deeplesion import MAX_SIDE_PIXELS
from tubepet.errors import InputError

ENHANCED = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
MAX_FILE_BYTES = 2**31  # a series in one file; 4000 frames of 512 x 512 pixels
MAX_FRAMES = 16384
MAX_TILT_DEG = 35.0  # gantries tilt by up to 30 degrees; coronal and sagittal are at 90
MAX_OBLIQUITY = 0.05  # deviation of direction cosines from unit length and right angles: rounding
MAX_STRETCH = 8.0  # of a pixel, longer over shorter side
NEEDED = (
    "SeriesInstanceUID", "StudyInstanceUID", "ImageOrientationPatient", "ImagePositionPatient",
    "RescaleSlope", "RescaleIntercept",
)  # fmt: skip
OTHER_VIEWS = {"REFORMATTED", "MPR", "MIP", "MAXIMUM", "MINIP", "MINIMUM", "VRT", "LOCALIZER"}
MAGIC = b"DICM"  # at byte 128, after the preamble
FIRST_BYTES = 1 << 15  # read first; most headers end before
MAX_HEADER_BYTES = 1 << 24  # 16384 frames of 1 KB
PIXELS = 0x7FE00008  # the first of the tags that hold pixels
NAMES = (
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "PatientID", "StudyInstanceUID",
    "SeriesInstanceUID", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel",
    "NumberOfFrames", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "TransferSyntaxUID", "MediaStorageSOPClassUID",
)  # fmt: skip
NAME_OF = {int(tag_for_keyword(name) or 0): name for name in NAMES}
TAGS = list(NAME_OF)
LAST = max(TAGS)
CHARACTERS = 0x00080005  # SpecificCharacterSet, the encoding of PatientID
BINARY = {
    "Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
}  # fmt: skip
Fields = dict[str, list[str]]


@dataclass(frozen=True)
class Header:
    """The fields of a file that describe its pixels.

    Attributes
    ----------
    fields : dict
        Values of `NAMES` as text, without missing or empty ones.
    frames : list of dict
        The fields of each frame of an enhanced object; else empty.
    syntax : str
        Transfer syntax.
    """

    fields: Fields
    frames: list[Fields]
    syntax: str

    def text(self, name: str) -> str:
        """Return a field as one text; "" if it is missing."""
        return "\\".join(self.fields.get(name, []))

    def number(self, name: str, default: int) -> int:
        """Return a field as a whole number; `ValueError` if it is none."""
        return int(self.fields.get(name, [default])[0])

    @property
    def is_signed(self) -> bool:
        """Return whether stored values have a sign."""
        return self.fields.get("PixelRepresentation") == ["1"]


@dataclass(frozen=True)
class Slice:
    """The facts of one slice from its header.

    Attributes
    ----------
    frame : int
        Number within its file, from 0.
    height_mm : float
        Position along the normal of the slice.
    slope, intercept : float
        HU = slope * stored + intercept.
    stretch : float
        Height over width of a pixel.
    """

    frame: int
    height_mm: float
    slope: float
    intercept: float
    stretch: float


class LeftOut(InputError):
    """The file is no axial CT slice in HU, but not damaged; the message says what it is."""


def read(path: Path) -> Header:
    """Read the header of a file that may be a CT slice.

    Raises
    ------
    LeftOut
        If it is something else.
    InputError
        If it is damaged, too large, or deflated: deflated files may unpack to any size.
    """
    with open(path, "rb") as file:
        first = file.read(FIRST_BYTES)
        if not first:
            raise LeftOut("empty file")
        if first[128:132] != MAGIC:
            raise LeftOut("no DICOM preamble")
        try:
            fields, is_whole = _parsed(first)
        except Exception:  # the header goes on behind these bytes, or is damaged: parsed again
            is_whole = False
        if not is_whole:
            first += file.read(MAX_HEADER_BYTES - len(first))
            fields, is_whole = _parsed(first)
        kind = UID("".join(fields.get("SOPClassUID") or fields.get("MediaStorageSOPClassUID", [])))
        if not kind:
            raise InputError(f"{path}: expected a DICOM file, got a damaged file (no SOP class)")
        if kind not in (CTImageStorage, *ENHANCED):
            raise LeftOut(kind.name if kind.name != kind else "unknown SOP class")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(f"{path}: got {size} bytes, expected a CT of at most {MAX_FILE_BYTES}")
        syntax = "".join(fields.get("TransferSyntaxUID", []))
        if syntax == DeflatedExplicitVRLittleEndian:
            raise InputError(f"{path}: got a deflated DICOM file, expected one that is not")
        frames = []
        if kind in ENHANCED:  # the descriptions of frames come after the fields in `NAMES`
            first += file.read(MAX_HEADER_BYTES - len(first))
            until = _Until(PIXELS - 1)
            try:
                frames = _frames(read_partial(BytesIO(first), until), fields, path)
            except Exception:
                if size <= MAX_HEADER_BYTES:
                    raise
            is_whole = until.is_reached
    if not is_whole and size > MAX_HEADER_BYTES:
        raise InputError(f"{path}: expected a header of at most {MAX_HEADER_BYTES} bytes")
    return Header(fields, frames, syntax)


def _parsed(first: bytes) -> tuple[Fields, bool]:
    """Return the fields in the first bytes of a file, and whether the bytes reach beyond them.

    `pydicom.dcmread` would take twice the time. The fields of deflated files are not read.
    """
    file = BytesIO(first)
    file.seek(len(MAGIC) + 128)
    meta = _fields(data_element_generator(file, False, True, lambda tag, vr, length: tag >> 16 > 2))
    syntax = "".join(meta.get("TransferSyntaxUID", []))
    if syntax == DeflatedExplicitVRLittleEndian:
        return meta, True
    until = _Until(LAST)
    elements = data_element_generator(
        file,
        syntax in ("", ImplicitVRLittleEndian),
        syntax != ExplicitVRBigEndian,
        until,
        specific_tags=[*TAGS, CHARACTERS],
    )
    return meta | _fields(elements), until.is_reached


class _Until:
    """Makes pydicom stop reading behind a tag."""

    def __init__(self, last: int) -> None:
        self.last, self.is_reached = last, False

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        self.is_reached = int.__gt__(tag, self.last)  # pydicom's own comparison of tags is slow
        return self.is_reached


def _fields(elements: Iterable[Any]) -> Fields:
    """Return the values of `NAMES` as text; numbers of 16 bits are read without a sign."""
    fields: Fields = {}
    characters: list[str] = []
    for element in elements:
        name, value = NAME_OF.get(element.tag), element.value
        if element.tag == CHARACTERS:
            characters = _texts(value)
        elif name is None:
            continue
        elif name == "PatientID" and isinstance(value, bytes) and not value.isascii():
            fields[name] = [decode_bytes(value, convert_encodings(characters), set()).strip(" \0")]
        elif name in BINARY and isinstance(value, bytes):
            order = "<" if element.is_little_endian else ">"
            fields[name] = [str(number) for (number,) in struct.iter_unpack(f"{order}H", value)]
        elif any(values := _texts(value)):
            fields[name] = values
    return fields


def _texts(value: Any) -> list[str]:
    """Return the values of a field as texts; pydicom may have converted them already."""
    values = value.decode("latin-1").split("\\") if isinstance(value, bytes) else _several(value)
    return [str(one).strip(" \0") for one in values]


def _several(value: Any) -> list[Any]:
    """Return the values of a field as a list, which may be empty."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | MultiValue) else [value]


def _frames(data: FileDataset, common: Fields, where: str | Path) -> list[Fields]:
    """Return the fields of every frame, in the form of a file with one slice."""
    (num,) = _numbers(common, "NumberOfFrames", 1, where)
    groups = data.get("PerFrameFunctionalGroupsSequence") or []
    if not 0 < num <= MAX_FRAMES or len(groups) != num:
        raise InputError(
            f"{where}: got NumberOfFrames {num:g} and {len(groups)} descriptions of frames, "
            f"expected one of each of at most {MAX_FRAMES}"
        )
    shared = data.get("SharedFunctionalGroupsSequence") or [Dataset()]
    common = common | _grouped(shared[0])
    return [common | _grouped(group) for group in groups]


def _grouped(group: Dataset) -> Fields:
    """Return the fields in the functional groups of one frame, or of those shared by all."""
    fields: Fields = {}
    for element in group:
        if element.VR == "SQ" and element.value:
            fields |= _fields(element.value[0].values())
            if "FrameType" in element.value[0]:
                fields["ImageType"] = [str(v) for v in _several(element.value[0].FrameType)]
    return fields


def slices_of(header: Header, where: str | Path) -> list[Slice]:
    """Return the slices of a file.

    Raises
    ------
    LeftOut
        If it holds no axial slice in HU.
    InputError
        If a field that is needed is missing or impossible.
    """
    fields = header.fields
    if fields.get("Modality") != ["CT"]:
        raise LeftOut(f"modality {header.text('Modality')[:16]}")
    if fields.get("SamplesPerPixel", ["1"]) != ["1"]:
        raise LeftOut("colour")
    for name in ("Rows", "Columns", "BitsAllocated"):
        _numbers(fields, name, 1, where)
    rows, columns, bits = (header.number(name, 0) for name in ("Rows", "Columns", "BitsAllocated"))
    if not (0 < rows <= MAX_SIDE_PIXELS and 0 < columns <= MAX_SIDE_PIXELS):
        raise InputError(
            f"{where}: got {rows} x {columns} pixels, expected at most {MAX_SIDE_PIXELS} x "
            f"{MAX_SIDE_PIXELS}"
        )
    if bits not in (8, 16, 32):
        raise InputError(f"{where}: BitsAllocated got {bits}, expected 8, 16 or 32")
    if not header.frames:
        if fields.get("NumberOfFrames", ["1"]) != ["1"]:
            raise LeftOut("several frames in an object of one")
        return [_slice(fields, 0, where)]
    slices, reason = [], LeftOut("no frames")
    for i, one in enumerate(header.frames):
        try:
            slices.append(_slice(one, i, f"{where} frame {i + 1}"))
        except LeftOut as error:
            reason = error
    if not slices:
        raise reason
    return slices


def _slice(fields: Fields, frame: int, where: str | Path) -> Slice:
    """Return the slice that these fields describe; errors as `slices_of`."""
    kind = set(fields.get("ImageType", []))
    if views := sorted(kind & OTHER_VIEWS):
        raise LeftOut("localiser" if "LOCALIZER" in views else f"{views[0].lower()} view")
    if missing := [name for name in NEEDED if name not in fields]:
        if "SECONDARY" in kind:
            raise LeftOut("secondary image without place or HU")
        raise InputError(f"{where}: DICOM fields {', '.join(missing)} are missing")
    unit = fields.get("RescaleType", ["HU"])[0].upper()
    if unit != "HU":
        raise LeftOut(f"unit {unit[:16]}, not HU")
    normal = _normal(_numbers(fields, "ImageOrientationPatient", 6, where), where)
    if math.degrees(math.acos(min(1.0, abs(normal[2])))) > MAX_TILT_DEG:
        raise LeftOut("not axial")
    place_mm = _numbers(fields, "ImagePositionPatient", 3, where)
    if max(map(abs, place_mm)) > MAX_MM:
        raise InputError(
            f"{where}: ImagePositionPatient got {place_mm}, expected at most {MAX_MM:g} mm"
        )
    (slope,), (intercept,) = (
        _numbers(fields, name, 1, where) for name in ("RescaleSlope", "RescaleIntercept")
    )
    if not slope > 0:
        raise InputError(f"{where}: RescaleSlope got {slope:g}, expected more than 0")
    stretch = 1.0
    if "PixelSpacing" in fields:
        high_mm, wide_mm = _numbers(fields, "PixelSpacing", 2, where)
        if not (min(high_mm, wide_mm) > 0 and 1 / MAX_STRETCH <= high_mm / wide_mm <= MAX_STRETCH):
            raise InputError(
                f"{where}: PixelSpacing got {[high_mm, wide_mm]}, expected two lengths above 0 mm, "
                f"at most {MAX_STRETCH:g} times apart"
            )
        stretch = high_mm / wide_mm
    height_mm = sum(n * p for n, p in zip(normal, place_mm, strict=True))
    return Slice(frame, height_mm, slope, intercept, stretch)


def _normal(cosines: list[float], where: str | Path) -> tuple[float, float, float]:
    """Return the unit normal (x, y, z) of a slice, from ImageOrientationPatient's six cosines."""
    (a, b, c), (d, e, f) = cosines[:3], cosines[3:]
    off = (math.hypot(a, b, c) - 1, math.hypot(d, e, f) - 1, a * d + b * e + c * f)
    if not max(map(abs, off)) <= MAX_OBLIQUITY:
        raise InputError(
            f"{where}: ImageOrientationPatient got {cosines}, expected two directions of length 1 "
            "at a right angle"
        )
    normal = b * f - c * e, c * d - a * f, a * e - b * d
    length = math.hypot(*normal)
    return normal[0] / length, normal[1] / length, normal[2] / length


def _numbers(fields: Fields, name: str, num: int, where: str | Path) -> list[float]:
    """Return the `num` finite numbers of a field; `InputError` if it has others."""
    given = fields.get(name, [])
    try:
        values = [float(value) for value in given]
    except ValueError:
        values = []
    if len(values) != num or not all(map(math.isfinite, values)):
        got = "\\".join(given)[:60]
        raise InputError(
            f"{where}: {name} got {got!r}, expected {num} finite number" + "s" * (num > 1)
        )
    return values
