"""Activity as DICOM: PET Image Storage, one file per slice, or one multi-frame file.

Frame: the image's own LPS coordinates (`tubepet.types`); rows run along x, columns along y, and
slices along z. Values are unsigned 16 bits with a slope per slice, so a value comes back within
half a step, 1/131070 of the largest of its slice; units are Bq/ml (BQML).

DICONDE (ASTM E2339) is DICOM for the inspection of components: the same objects, with the patient
read as the component and the study as the inspection. `Component` holds these, and the attributes
of group 0014 carry material and size. DICONDE has no practice for PET, so this is E2339 over the
PET object of DICOM.

Identifiers are derived from the content: the same image with the same facts has the same ones.

References
----------
DICOM PS3.3, sections A.21 and C.8.9 (PET image), A.72 (Legacy Converted Enhanced PET), C.7.6.2
(image plane), C.12.1 (SOP common, with Synthetic Data); PS3.6 chapter 6, group 0014; ASTM E2339.
"""

import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    ExplicitVRLittleEndian,
    LegacyConvertedEnhancedPETImageStorage,
    PositronEmissionTomographyImageStorage,
    generate_uid,
)

import tubepet
from tubepet import io
from tubepet.errors import InputError, reading
from tubepet.types import Grid, Volume

MM3_PER_ML = 1000.0
MAX_STORED = 65535
MAX_SLICES = 4096
AXES = [1, 0, 0, 0, 1, 0]  # rows along x, columns along y
METHODS = {  # of attenuation, by the note of the workflow's images
    "nominal": "map of the drawing without defects",
    "truth": "map of the simulated object, defects included",
    "file": "map of the user",
}
LO_LENGTH = 64


@dataclass(frozen=True)
class Component:
    """What was inspected, and how, in DICONDE's words.

    Attributes
    ----------
    name : str
        Component name and component ID number.
    inspection : str
        Inspection (study) description, at most 64 characters.
    material, notes : str
        Material properties description, and material notes.
    outer_diameter_mm, thickness_mm : float or None
        Of a pipe and its wall.
    is_synthetic : bool or None
        Whether the content was made artificially (simulated or generated); None: not known.
    derivation : str
        How a generated image was made, and that it is no measurement; "" for a reconstructed one.
    """

    name: str
    inspection: str = "Positron emission tomography"
    material: str = ""
    notes: str = ""
    outer_diameter_mm: float | None = None
    thickness_mm: float | None = None
    is_synthetic: bool | None = None
    derivation: str = ""


@dataclass(frozen=True)
class Quantity:
    """What the values of an image are.

    Attributes
    ----------
    units : str
        Units (0054,1001), defined terms of DICOM.
    factor : float
        What a value is multiplied by to be in these units.
    description : str
        Series description.
    derivation : str
        How it was derived from others; "": it was not.
    """

    units: str
    factor: float
    description: str
    derivation: str = ""


ACTIVITY = Quantity("BQML", MM3_PER_ML, "Reconstructed activity")


def write_series(
    folder: str | Path, image: Volume, component: Component, settings: dict[str, Any],
    quantity: Quantity = ACTIVITY,
) -> None:  # fmt: skip
    """Write a series into a new folder, one file per slice.

    Parameters
    ----------
    image : Volume
        Values >= 0; of an activity, Bq/mm3.
    component : Component
    settings : dict
        Go as JSON into ImageComments (0020,4000); `duration_s` is the frame's duration.

    Raises
    ------
    InputError
        If the folder exists, or values are negative or not finite.
    """
    if Path(folder).exists():
        raise InputError(f"{folder}: exists already, expected a new folder")
    for index in range(image.grid.shape[0]):
        path = Path(folder) / f"slice_{index:04d}.dcm"
        write_slice(path, image, index, component, settings, quantity)


def write_slice(
    path: str | Path, image: Volume, index: int, component: Component, settings: dict[str, Any],
    quantity: Quantity = ACTIVITY,
) -> None:  # fmt: skip
    """Write one slice of a series; see `write_series`."""
    _check(image)
    data = _dataset(PositronEmissionTomographyImageStorage, image, component, settings, index)
    data.SeriesType, data.Units = ["STATIC", "IMAGE"], quantity.units
    data.CountsSource, data.DecayCorrection = "EMISSION", "NONE"
    data.CorrectedImage, data.CollimatorType = _corrections(settings), "NONE"
    if method := _attenuation(settings):
        data.AttenuationCorrectionMethod = method
    data.NumberOfSlices = image.grid.shape[0]
    data.ImageIndex = data.InstanceNumber = index + 1
    data.ImageType = _image_type(component)
    if quantity.derivation:
        data.DerivationDescription, data.ImageType = quantity.derivation, ["DERIVED", "PRIMARY"]
    if not component.derivation:
        data.SeriesDescription = quantity.description
    data.ActualFrameDuration = round(settings.get("duration_s", 0) * 1000)
    data.FrameReferenceTime = "0"
    data.AcquisitionDate = data.AcquisitionTime = ""
    data.RadiopharmaceuticalInformationSequence = []
    data.PatientOrientationCodeSequence = data.PatientGantryRelationshipCodeSequence = []
    stored, slope = _stored(image.array[index], quantity.factor)
    data.RescaleSlope, data.RescaleIntercept = slope, "0"
    data.ImagePositionPatient = _position_mm(image, index)
    data.ImageOrientationPatient = AXES
    data.PixelSpacing, data.SliceThickness = _spacing_mm(image)
    data.PixelData = stored.tobytes()
    _save(Path(path), data)


def write_multiframe(
    path: str | Path, image: Volume, component: Component, settings: dict[str, Any]
) -> None:
    """Write one file with a frame per slice; see `write_series`.

    The object is Legacy Converted Enhanced PET: the series in one file. Enhanced PET itself demands
    a radionuclide and the motions of detector and table, which nobody here could fill in truly.
    """
    _check(image)
    data = _dataset(LegacyConvertedEnhancedPETImageStorage, image, component, settings, 0)
    spacing, thickness = _spacing_mm(image)
    image_type = [*_image_type(component), "VOLUME", "NONE"]
    data.ImageType, data.InstanceNumber = image_type, 1
    data.NumberOfFrames = image.grid.shape[0]
    data.PixelPresentation, data.VolumetricProperties = "MONOCHROME", "VOLUME"
    data.VolumeBasedCalculationTechnique, data.PresentationLUTShape = "NONE", "IDENTITY"
    data.ContentQualification, data.LossyImageCompression = "RESEARCH", "00"
    data.BurnedInAnnotation, data.AcquisitionContextSequence = "NO", []
    data.ContentDate, data.ContentTime = data.SeriesDate, data.SeriesTime
    organisation = _uid(data.SOPInstanceUID, "dimension")
    data.update(
        _items(
            DimensionOrganizationSequence={"DimensionOrganizationUID": organisation},
            DimensionIndexSequence={
                "DimensionOrganizationUID": organisation,
                "DimensionIndexPointer": tag_for_keyword("InStackPositionNumber"),
                "FunctionalGroupPointer": tag_for_keyword("FrameContentSequence"),
            },
        )
    )
    data.SharedFunctionalGroupsSequence = [
        _items(
            PixelMeasuresSequence={"PixelSpacing": spacing, "SliceThickness": thickness},
            PlaneOrientationSequence={"ImageOrientationPatient": AXES},
            PETFrameTypeSequence={
                "FrameType": image_type,
                "PixelPresentation": "MONOCHROME",
                "VolumetricProperties": "VOLUME",
                "VolumeBasedCalculationTechnique": "NONE",
            },
            UnassignedSharedConvertedAttributesSequence={},
        )
    ]
    planes = [_stored(plane, MM3_PER_ML) for plane in image.array]
    data.PerFrameFunctionalGroupsSequence = [
        _items(
            FrameContentSequence={
                "DimensionIndexValues": [index + 1],
                "StackID": "1",
                "InStackPositionNumber": index + 1,
            },
            PlanePositionSequence={"ImagePositionPatient": _position_mm(image, index)},
            PixelValueTransformationSequence={
                "RescaleSlope": slope,
                "RescaleIntercept": "0",
                "RescaleType": "US",
            },
            RealWorldValueMappingSequence={
                "RealWorldValueFirstValueMapped": 0,
                "RealWorldValueLastValueMapped": MAX_STORED,
                "RealWorldValueIntercept": 0.0,
                "RealWorldValueSlope": float(slope),
                "LUTExplanation": "activity concentration",
                "LUTLabel": "BQML",
                "MeasurementUnitsCodeSequence": [_code("Bq/ml", "UCUM", "Becquerels/milliliter")],
            },
            UnassignedPerFrameConvertedAttributesSequence={},
        )
        for index, (_, slope) in enumerate(planes)
    ]
    data.PixelData = np.stack([stored for stored, _ in planes]).tobytes()
    _save(Path(path), data)


def read_image(path: str | Path) -> tuple[Volume, dict[str, Any]]:
    """Read a series (a folder) or a multi-frame file of activity, as written here.

    Returns
    -------
    Volume
        Bq/mm3.
    dict
        Settings, from ImageComments; empty if these are no JSON object.

    Raises
    ------
    InputError
        If a file is damaged, compressed, not in Bq/ml, or slices do not make an even, axial stack.
    """
    paths = sorted(Path(path).glob("*.dcm")) if Path(path).is_dir() else [Path(path)]
    if not 0 < len(paths) <= MAX_SLICES:
        raise InputError(f"{path}: got {len(paths)} files .dcm, expected 1 to {MAX_SLICES}")
    planes: list[tuple[float, NDArray[np.float64]]] = []
    for file in paths:
        with reading(file, "a DICOM PET image as tubepet writes it"):
            data = _uncompressed(file)
            planes += _planes(file, data)
            dy, dx = (float(v) for v in _measures(data).PixelSpacing)
            x_mm, y_mm = (float(v) for v in _first_position(data)[:2])
            thickness_mm = float(_measures(data).SliceThickness)
    planes.sort(key=lambda plane: plane[0])
    z_mm, array = np.array([z for z, _ in planes]), np.stack([plane for _, plane in planes])
    steps = np.diff(z_mm)
    dz = float(steps.mean()) if len(steps) else thickness_mm
    if not (np.isfinite(array).all() and dz > 0 and np.allclose(steps, dz, atol=1e-3)):
        raise InputError(
            f"{path}: expected finite values on slices evenly apart, one at each place"
        )
    nz, ny, nx = array.shape
    grid = Grid((nz, ny, nx), (dz, dy, dx), (float(z_mm[0]), y_mm, x_mm))
    image = Volume((array / MM3_PER_ML).astype(np.float32), grid, "Bq/mm3")
    return image, _settings_of(data)


def _uncompressed(path: Path) -> FileDataset:
    """Read a file whose pixels are as many bytes as its header says."""
    size = path.stat().st_size
    if size > io.MAX_VOLUME_BYTES:
        raise InputError(f"{path}: got {size} bytes, expected at most {io.MAX_VOLUME_BYTES}")
    syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    if syntax != ExplicitVRLittleEndian:  # a deflated file may unpack to anything
        raise InputError(f"{path}: got a transfer syntax {syntax}, expected an uncompressed file")
    data = pydicom.dcmread(path)
    wanted = 2 * data.Rows * data.Columns * int(data.get("NumberOfFrames", 1))
    if len(data.PixelData) != wanted or not 0 < wanted or data.BitsAllocated != 16:
        raise InputError(
            f"{path}: got {len(data.PixelData)} bytes of pixels, expected {wanted}, 16 bits each"
        )
    return data


def _planes(path: Path, data: FileDataset) -> list[tuple[float, NDArray[np.float64]]]:
    """Height (mm) and values (Bq/ml) of every slice of a file."""
    stored = np.frombuffer(data.PixelData, "<u2").reshape(-1, data.Rows, data.Columns)
    if "NumberOfFrames" in data:
        groups = data.PerFrameFunctionalGroupsSequence
        units = {one.RealWorldValueMappingSequence[0].LUTLabel for one in groups}
        slopes = [one.PixelValueTransformationSequence[0].RescaleSlope for one in groups]
        heights = [one.PlanePositionSequence[0].ImagePositionPatient[2] for one in groups]
        shared = data.SharedFunctionalGroupsSequence[0]
        axes = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    else:
        units, slopes = {data.Units}, [data.RescaleSlope]
        heights, axes = [data.ImagePositionPatient[2]], data.ImageOrientationPatient
    if units != {"BQML"} or [float(v) for v in axes] != AXES:
        raise InputError(
            f"{path}: got units {', '.join(map(str, units))} and axes {list(axes)}, expected BQML "
            f"and {AXES}"
        )
    return [
        (float(z), plane * float(slope))
        for z, plane, slope in zip(heights, stored, slopes, strict=True)
    ]


def _measures(data: FileDataset) -> Dataset:
    """Where PixelSpacing and SliceThickness are."""
    if "NumberOfFrames" in data:
        return data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    return data


def _first_position(data: FileDataset) -> Any:
    if "NumberOfFrames" in data:
        first = data.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
        return first.ImagePositionPatient
    return data.ImagePositionPatient


def _settings_of(data: FileDataset) -> dict[str, Any]:
    try:
        settings = json.loads(data.get("ImageComments", ""))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def _check(image: Volume) -> None:
    if not (np.isfinite(image.array).all() and (image.array >= 0).all()):
        raise InputError("image: got negative or non-finite values, expected >= 0 (Bq/mm3)")


def _uid(*parts: str) -> str:
    return str(generate_uid(entropy_srcs=["tubepet", *parts]))


def _dataset(
    sop_class: str, image: Volume, component: Component, settings: dict[str, Any], index: int
) -> FileDataset:
    """Return what both objects have in common."""
    comments = json.dumps(settings, sort_keys=True)
    content = (component.name, component.derivation, comments, image.array.tobytes().hex())
    study, series = _uid(*content, "study"), _uid(*content, sop_class)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = _uid(series, str(index))
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = study, series
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = _uid(*content, "frame"), ""
    now = datetime.datetime.now()
    data.StudyDate = data.SeriesDate = now.strftime("%Y%m%d")
    data.StudyTime = data.SeriesTime = now.strftime("%H%M%S")
    data.StudyID, data.SeriesNumber, data.AccessionNumber = "1", 1, ""
    data.ReferringPhysicianName = data.PatientBirthDate = data.PatientSex = ""
    data.PatientName, data.PatientID = component.name, component.name[:LO_LENGTH]
    data.Laterality = ""
    data.StudyDescription = component.inspection[:LO_LENGTH]
    data.SeriesDescription = (
        "GENERATED, not a measurement" if component.derivation else "Reconstructed activity"
    )
    data.Manufacturer, data.ManufacturerModelName = "tubepet", "tubepet"
    data.SoftwareVersions, data.DeviceSerialNumber = tubepet.__version__, "0"
    data.Modality, data.ImageComments = "PT", comments
    if component.material:
        data.MaterialPropertiesDescription = component.material
    if component.notes:
        data.MaterialNotes = component.notes
    if component.outer_diameter_mm is not None:
        data.OuterDiameter = f"{component.outer_diameter_mm:.3f}"
    if component.thickness_mm is not None:
        data.MaterialThickness = f"{component.thickness_mm:.3f}"
    if component.is_synthetic is not None:
        data.SyntheticData = "YES" if component.is_synthetic else "NO"
    if component.derivation:
        data.DerivationDescription = component.derivation
    data.Rows, data.Columns = image.grid.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    return data


def _image_type(component: Component) -> list[str]:
    return ["DERIVED" if component.derivation else "ORIGINAL", "PRIMARY"]


def _corrections(settings: dict[str, Any]) -> list[str]:
    """Name what the reconstruction corrects; of an image without settings nothing is claimed."""
    if "num_iterations" not in settings:
        return []
    is_blind = "mu" in settings and settings["mu"] is None  # no --mu: nothing attenuates
    return [name for name in ("NORM", "ATTN", "SCAT", "RAN") if not (is_blind and name == "ATTN")]


def _attenuation(settings: dict[str, Any]) -> str:
    """Say which attenuation map was used: the file's name, or what the image's note tells."""
    kind = str(settings.get("note", "")).rpartition("attenuation: ")[2]
    return str(settings.get("mu") or METHODS.get(kind, ""))[:LO_LENGTH]


def _stored(image: NDArray[np.floating], factor: float) -> tuple[NDArray[np.uint16], str]:
    values = image.astype(np.float64) * factor
    slope = f"{max(float(values.max()) / MAX_STORED, 1e-30):.9e}"  # DS holds 16 characters
    return np.clip(np.rint(values / float(slope)), 0, MAX_STORED).astype("<u2"), slope


def _position_mm(image: Volume, index: int) -> list[str]:
    oz, oy, ox = image.grid.origin_mm
    return [f"{v:.6f}" for v in (ox, oy, oz + index * image.grid.voxel_mm[0])]


def _spacing_mm(image: Volume) -> tuple[list[str], str]:
    dz, dy, dx = image.grid.voxel_mm
    return [f"{dy:.6f}", f"{dx:.6f}"], f"{dz:.6f}"


def _items(**sequences: dict[str, Any]) -> Dataset:
    """Return a dataset of sequences with one item each."""
    data = Dataset()
    for name, values in sequences.items():
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(data, name, [item])
    return data


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _save(path: Path, data: FileDataset) -> None:
    with io.atomic(path) as part:
        pydicom.dcmwrite(part, data, enforce_file_format=True)
