"""Reader of a folder of DICOM CT series (stage 04).

Each file is one slice; files are grouped by SeriesInstanceUID and ordered along the normal of the
slices. Scouts (ImageType LOCALIZER) and other modalities (reports, PET) come with every export:
they are left out and counted. A CT slice that is not axial is refused.

References
----------
DICOM PS3.3, sections C.7.6.2 (image plane), C.11.1 (modality LUT), C.7.5.1.1.2 (pixel padding).
"""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from numpy.typing import NDArray
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from tubepet.ct.deeplesion import INDEX_COLUMNS, MAX_SIDE_PIXELS
from tubepet.errors import InputError, reading

MAX_HU = 1 << 24  # far beyond any CT; larger values come of a damaged slope
AIR_HU = -1000  # what padding becomes: there was nothing outside the field of view
MAX_FILE_BYTES = 64 * 2**20  # a 2048 x 2048 slice of 16 bits has 8 MiB
MAX_TILT_DEG = 35.0  # gantries tilt by up to 30 degrees; coronal and sagittal are at 90
MAGIC = b"DICM"  # at byte 128, after the preamble
NEEDED = (
    "Rows", "Columns", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
    "ImageOrientationPatient", "ImagePositionPatient", "RescaleSlope", "RescaleIntercept",
)  # fmt: skip


def _is_dicom(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(128)
        return file.read(4) == MAGIC


def _read(path: Path, with_pixels: bool) -> pydicom.Dataset:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InputError(
            f"{path}: got {size} bytes, expected one slice of at most {MAX_FILE_BYTES}"
        )
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:  # may unpack to anything
        raise InputError(f"{path}: got a deflated DICOM file, expected one that is not")
    return pydicom.dcmread(path, stop_before_pixels=not with_pixels)


def slice_normal(orientation: list[float]) -> NDArray[np.float64]:
    """Return the unit normal (x, y, z) of a slice, from ImageOrientationPatient's six cosines."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal), np.float64)


def _check_header(header: pydicom.Dataset, path: Path) -> None:
    missing = [name for name in NEEDED if header.get(name) in (None, "")]
    if missing:
        raise InputError(f"{path}: DICOM fields {', '.join(missing)} are missing")
    if max(header.Rows, header.Columns) > MAX_SIDE_PIXELS:
        raise InputError(
            f"{path}: got {header.Rows} x {header.Columns} pixels, expected at most "
            f"{MAX_SIDE_PIXELS} x {MAX_SIDE_PIXELS}"
        )
    orientation = [float(v) for v in header.ImageOrientationPatient]
    tilt_deg = math.degrees(math.acos(min(1.0, abs(slice_normal(orientation)[2]))))
    if not tilt_deg <= MAX_TILT_DEG:  # also true for NaN, from parallel row and column
        raise InputError(
            f"{path}: got a slice tilted by {tilt_deg:.0f} degrees from axial "
            f"(ImageOrientationPatient {orientation}), expected an axial slice "
            f"(at most {MAX_TILT_DEG:.0f} degrees)"
        )


def index_slices(source_dir: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """List the axial CT slices in a folder and its subfolders.

    Parameters
    ----------
    source_dir : Path
        Folder of DICOM files of any names; files without DICOM's magic bytes are left out, unless
        they are called `.dcm`.

    Returns
    -------
    index : DataFrame
        Columns as `tubepet.ct.deeplesion.index_slices` gives them (patient, study and series are
        DICOM's identifiers, `slice` counts from 0 along the normal, split is empty).
    counts : dict
        num_files, num_other_files (not CT, or scouts).

    Raises
    ------
    InputError
        Naming the file: damaged, not axial, too large, or a needed field missing; or the folder,
        when it holds no CT slice.
    """
    root = source_dir.resolve()
    found, num_files = [], 0
    for path in sorted(p for p in source_dir.rglob("*") if p.is_file()):
        if not path.resolve().is_relative_to(root):
            raise InputError(f"{path}: leads out of {source_dir}, expected a file inside it")
        num_files += 1
        if path.suffix.lower() != ".dcm" and not _is_dicom(path):
            continue
        relative = path.relative_to(source_dir).as_posix()
        with reading(path, "a DICOM file"):  # fields are parsed when they are asked for
            header = _read(path, with_pixels=False)
            if header.get("Modality") != "CT" or "LOCALIZER" in (header.get("ImageType") or []):
                continue
            _check_header(header, path)
            normal = slice_normal([float(v) for v in header.ImageOrientationPatient])
            position_mm = float(np.dot(normal, [float(v) for v in header.ImagePositionPatient]))
            found.append((str(header.PatientID), str(header.StudyInstanceUID),
                          str(header.SeriesInstanceUID), position_mm, "", relative))  # fmt: skip
    if not found:
        raise InputError(f"{source_dir}: got no CT slices, expected DICOM files (Modality CT)")
    index = pd.DataFrame(found, columns=INDEX_COLUMNS)
    index = index.sort_values(["patient", "series", "slice", "source_file"], ignore_index=True)
    index["slice"] = index.groupby(["patient", "series"]).cumcount()
    return index, {"num_files": num_files, "num_other_files": num_files - len(found)}


def _padding(header: pydicom.Dataset, stored: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels outside the scanner's field of view, as PixelPaddingValue (and its range) say."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, bool)
    limit = header.get("PixelPaddingRangeLimit", value)
    return (stored >= min(value, limit)) & (stored <= max(value, limit))


def read_hu(path: Path) -> NDArray[np.int32]:
    """Read one slice.

    Parameters
    ----------
    path : Path
        DICOM file of one CT slice.

    Returns
    -------
    int32 array, shape (H, W)
        HU = slope * stored + intercept, rounded; declared padding is air.

    Raises
    ------
    InputError
        If the pixels are cut off, or compressed in a way that pydicom alone cannot read.
    """
    with reading(path, "a DICOM file"):
        data = _read(path, with_pixels=True)
        _check_header(data, path)
    with reading(path, "whole, uncompressed pixels"):
        num_frames, num_samples = data.get("NumberOfFrames", 1), data.get("SamplesPerPixel", 1)
        if (num_frames, num_samples) != (1, 1):
            raise InputError(
                f"{path}: got {num_frames} frames of {num_samples} values per pixel, expected one "
                "grey slice"
            )
        stored = data.pixel_array.astype(np.int32)
        hu = np.rint(stored * float(data.RescaleSlope) + float(data.RescaleIntercept))
        hu = np.where(_padding(data, stored), AIR_HU, hu)
    if not np.isfinite(hu).all() or np.abs(hu).max() > MAX_HU:
        raise InputError(f"{path}: got values beyond {MAX_HU} HU, expected a CT slice")
    return hu.astype(np.int32)
