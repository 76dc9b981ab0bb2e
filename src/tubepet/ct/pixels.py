"""Read the stored pixel values of a DICOM file: uncompressed, RLE, or coded as JPEG (stage 04).

GDCM, a part of SimpleITK, decodes JPEG, JPEG-LS and JPEG 2000 in a process of its own
(`tubepet.ct.decoder`). That process gets a new file, in which only the coded frame is foreign. The
size that the frame states must be the header's.

References
----------
DICOM PS3.5, annex A.4 (encapsulated syntaxes); ITU-T T.81 B.2.2, T.87 C.2.2 (frame headers), T.800
A.5.1 (SIZ).
"""

import atexit
import math
import select
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.filereader import read_partial
from pydicom.pixels import pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
    UncompressedTransferSyntaxes,
)

from tubepet.ct import decoder
from tubepet.ct.headers import PIXELS, Header, LeftOut
from tubepet.errors import InputError

PLAIN = frozenset({*UncompressedTransferSyntaxes, RLELossless}) - {DeflatedExplicitVRLittleEndian}
CODED = frozenset({*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes, JPEG2000Lossless, JPEG2000})
MAX_DECODING_S = 60  # a frame takes a fraction of a second
PIXEL_DATA = b"\xe0\x7f\x10\x00"
SIZ = b"\xff\x4f\xff\x51"
START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # F7: JPEG-LS


def check(header: Header, path: Path) -> None:
    """Refuse unknown codings and incomplete pixels, without reading any.

    Raises
    ------
    LeftOut
        If there are no pixels.
    InputError
        If the coding is unknown, or uncompressed pixels are incomplete.
    """
    syntax = header.syntax
    if syntax not in PLAIN and syntax not in CODED:
        name = UID(syntax).name or "none"
        raise InputError(
            f"{path}: got transfer syntax {name}, expected uncompressed, RLE, JPEG, JPEG-LS or "
            "JPEG 2000 (GDCM's `gdcmconv --raw` converts)"
        )
    num_bytes = path.stat().st_size
    if syntax in UncompressedTransferSyntaxes and num_bytes < _wanted_bytes(header):
        with open(path, "rb") as file:
            read_partial(file, lambda tag, vr, length: tag >= PIXELS, specific_tags=[PIXELS])
            if not file.read(1):
                raise LeftOut("no pixels")
        raise InputError(
            f"{path}: expected whole pixels, got a damaged file ({num_bytes} bytes, fewer than its "
            f"{_wanted_bytes(header)} of pixels)"
        )


def _wanted_bytes(header: Header) -> int:
    """Return the number of bytes of uncompressed pixels."""
    num_pixels = math.prod(_shape(header)) * header.number("NumberOfFrames", 1)
    return num_pixels * header.number("BitsAllocated", 16) // 8


def _shape(header: Header) -> tuple[int, int]:
    return header.number("Rows", 0), header.number("Columns", 0)


def read_stored(header: Header, path: Path, frame: int) -> NDArray[np.int64]:
    """Read the stored values of one frame.

    Parameters
    ----------
    header : Header
        Of the file, checked by `tubepet.ct.headers.slices_of`.
    path : Path
    frame : int
        From 0.

    Returns
    -------
    int64 array, shape (H, W)

    Raises
    ------
    InputError
        If the frame is damaged, or of another size than the header says.
    """
    shape = _shape(header)
    if header.syntax in PLAIN:
        stored = pixel_array(path, index=frame, raw=True)
    else:
        stored = _decoded(header, path, frame)
    if stored.shape != shape:
        raise InputError(f"{path}: got pixels of shape {stored.shape}, expected {shape}")
    return stored.astype(np.int64)


def _decoded(header: Header, path: Path, frame: int) -> NDArray[np.integer]:
    """Let GDCM decode one frame."""
    with open(path, "rb") as file:
        read_partial(file, lambda tag, vr, length: tag >= PIXELS, specific_tags=[PIXELS])
        if file.read(12)[:4] != PIXEL_DATA:  # tag, VR, two empty bytes, length
            raise InputError(f"{path}: got no coded pixels, expected PixelData")
        coded = get_frame(file, frame, number_of_frames=header.number("NumberOfFrames", 1))
    shape, bits = _shape(header), header.number("BitsAllocated", 16)
    if (got := _coded_shape(coded)) != shape:
        raise InputError(f"{path}: got coded pixels of shape {got}, expected the header's {shape}")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = UID(header.syntax)
    one = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, "1.2.3"
    one.Rows, one.Columns = shape
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored = bits, min(header.number("BitsStored", bits), bits)
    one.HighBit, one.PixelRepresentation = one.BitsStored - 1, int(header.is_signed)
    one.PixelData = encapsulate([coded])
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "frame.dcm"
        one.save_as(written, enforce_file_format=True)
        answer = _ask(written)
        if answer != "done":
            raise InputError(f"{path}: expected whole pixels, got a damaged file ({answer})")
        return np.load(written.with_suffix(".npy"), allow_pickle=False).reshape(shape)


def _ask(path: Path) -> str:
    """Return the decoder's answer to one file; if it dies or takes too long, start a new one."""
    process = _decoder()
    assert process.stdin and process.stdout
    process.stdin.write(f"{path}\n")
    process.stdin.flush()
    is_heard = select.select([process.stdout], [], [], MAX_DECODING_S)[0]
    answer = process.stdout.readline().strip() if is_heard else ""
    if not answer:
        _end(process)
        _decoder.cache_clear()
    return answer or "the decoder ended at it"


@cache
def _decoder() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", decoder.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@atexit.register
def _at_exit() -> None:
    if _decoder.cache_info().currsize:
        _end(_decoder())


def _coded_shape(coded: bytes) -> tuple[int, int] | None:
    """Return rows and columns from the head of a coded frame; None if it has none."""
    if (start := coded.find(SIZ, 0, 4096)) >= 0:
        right, low, left, top = (
            int.from_bytes(coded[start + i : start + i + 4], "big") for i in (8, 12, 16, 20)
        )
        return low - top, right - left
    place = 2
    while place + 9 <= len(coded) and coded[place] == 0xFF:
        marker, length = coded[place + 1], int.from_bytes(coded[place + 2 : place + 4], "big")
        if marker in START_OF_FRAME:
            size = coded[place + 5 : place + 9]
            return int.from_bytes(size[:2], "big"), int.from_bytes(size[2:], "big")
        place += 2 + length
    return None
