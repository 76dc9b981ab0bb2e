"""Activity as a DICOM series, one file per slice (PET Image Storage).

Frame: the image's own LPS coordinates (`tubepet.types`); rows run along x, columns along y, and
slices along z. Values are unsigned 16 bits with a slope per slice; units are Bq/ml (BQML).

References
----------
DICOM PS3.3, sections A.21 and C.8.9 (PET image), C.7.6.2 (image plane).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tubepet import io
from tubepet.errors import InputError
from tubepet.types import Volume

PET_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.128"
MM3_PER_ML = 1000.0
MAX_STORED = 65535


def write_series(folder: str | Path, image: Volume, name: str, settings: dict[str, Any]) -> None:
    """Write a series into a new folder.

    Parameters
    ----------
    image : Volume
        Activity >= 0, Bq/mm3.
    name : str
        Patient's name and id: what was imaged.
    settings : dict
        Go as JSON into ImageComments (0020,4000) of every slice.

    Raises
    ------
    InputError
        If the folder exists, or values are negative or not finite.
    """
    if Path(folder).exists():
        raise InputError(f"{folder}: exists already, expected a new folder")
    if not (np.isfinite(image.array).all() and (image.array >= 0).all()):
        raise InputError("image: got negative or non-finite values, expected >= 0 Bq/mm3")
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for index in range(image.grid.shape[0]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = PET_IMAGE_STORAGE
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID = PET_IMAGE_STORAGE
        data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID = frame
        data.PatientName = data.PatientID = name
        data.Modality, data.SeriesType, data.Units = "PT", ["STATIC", "IMAGE"], "BQML"
        data.CountsSource, data.DecayCorrection = "EMISSION", "NONE"
        data.NumberOfSlices, data.ImageIndex = image.grid.shape[0], index + 1
        data.InstanceNumber = index + 1
        data.ImageComments = json.dumps(settings, sort_keys=True)
        _add_pixels(data, image, index)
        with io.atomic(Path(folder) / f"slice_{index:04d}.dcm") as part:
            pydicom.dcmwrite(part, data, enforce_file_format=True)


def _add_pixels(data: FileDataset, image: Volume, index: int) -> None:
    dz, dy, dx = image.grid.voxel_mm
    oz, oy, ox = image.grid.origin_mm
    values = image.array[index].astype(np.float64) * MM3_PER_ML
    slope = float(f"{max(float(values.max()) / MAX_STORED, 1e-30):.9e}")  # DS holds 16 characters
    data.RescaleSlope, data.RescaleIntercept = f"{slope:.9e}", "0"
    data.ImagePositionPatient = [f"{v:.6f}" for v in (ox, oy, oz + index * dz)]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing = [f"{dy:.6f}", f"{dx:.6f}"]
    data.SliceThickness = f"{dz:.6f}"
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    stored = np.clip(np.rint(values / slope), 0, MAX_STORED)
    data.PixelData = stored.astype("<u2").tobytes()
