"""Write and read images as DICOM: PET Image Storage, one file per slice, or one multi-frame file.

Coordinates are the image's own LPS ones (`tubepet.types`): rows run along x, columns along y, and
slices along z. Values are unsigned 16 bits with one slope per file, so a value comes back within
half a step, 1/131070 of the largest in its file. Units are Bq/ml (BQML). A slope per frame would be
finer, but ITK and GDCM read all frames with one.

DICONDE (ASTM E2339) is DICOM for the inspection of components. It has the same objects, but the
patient means the component and the study the inspection. `Component` holds these; attributes of
group 0014 carry material and size. DICONDE has no practice for PET, so this is E2339 over the PET
object of DICOM (ASTM E3169: where no practice addresses a method, its medical equivalent).

Identifiers are hashes of the content without the time. So the same image with the same facts has
the same identifiers.

References
----------
DICOM PS3.3, sections A.21 and C.8.9 (PET image), A.72 (Legacy Converted Enhanced PET), C.7.6.2
(image plane), C.11.2 (window), C.12.1 (SOP common, with Synthetic Data); PS3.6 chapter 6, group
0014; ASTM E2339 and E3169-18 (scope).
"""

import datetime
import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
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
from tubepet.bounds import check_bytes, check_mm
from tubepet.errors import InputError, reading, shown
from tubepet.types import Grid, Volume

MM3_PER_ML = 1000.0
MAX_STORED = 65535
MAX_SLICES = 4096
AXES = [1, 0, 0, 0, 1, 0]  # rows along x, columns along y
METHODS = {  # of attenuation correction, by the note of the workflow's images
    "nominal": "map of the drawing without defects",
    "truth": "map of the simulated object, defects included",
    "file": "map of the user",
}
ATTENUATION_NOTE = "attenuation: "  # in the note of an image of the workflow
LO_LENGTH = 64
OTHER_SUFFIXES = {
    ".nii", ".gz", ".mha", ".mhd", ".nrrd", ".img", ".hdr", ".png", ".npy", ".npz", ".json", ".csv",
    ".zip", ".onnx",
}  # fmt: skip


@dataclass(frozen=True)
class Component:
    """The inspected component and the inspection, in DICONDE's terms.

    Attributes
    ----------
    name : str
        Component name and component ID number.
    inspection : str
        Inspection (study) description, at most 64 characters.
    material, notes : str
        Material properties description, and material notes.
    outer_diameter_mm, thickness_mm : float or None
        Diameter of a pipe, and thickness of its wall.
    is_synthetic : bool or None
        Whether the content is artificial (simulated or generated); None: unknown.
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
    """The quantity that an image shows.

    Attributes
    ----------
    units : str
        Units (0054,1001), a defined term of DICOM.
    factor : float
        Factor from values of the image to these units.
    description : str
        Series description.
    derivation : str
        How the quantity was derived from others; "" if it was not.
    """

    units: str
    factor: float
    description: str
    derivation: str = ""


ACTIVITY = Quantity("BQML", MM3_PER_ML, "Reconstructed activity")


@dataclass(frozen=True)
class Series:
    """An image to write, with the identity and time that all objects of its study share."""

    image: Volume
    component: Component
    settings: dict[str, Any]
    quantity: Quantity
    made: datetime.datetime

    @cached_property
    def content(self) -> str:
        """Return a hash of everything but the time."""
        facts = (
            asdict(self.component), self.settings, asdict(self.quantity),
            asdict(self.image.grid), tubepet.__version__,
        )  # fmt: skip
        whole = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        whole.update(self.image.array.tobytes())
        return whole.hexdigest()


def _series(
    image: Volume, component: Component, settings: dict[str, Any], quantity: Quantity,
    made: datetime.datetime | None,
) -> Series:  # fmt: skip
    if not (np.isfinite(image.array).all() and (image.array >= 0).all()):
        raise InputError("image: got negative or non-finite values, expected >= 0 (Bq/mm3)")
    return Series(image, component, settings, quantity, made or datetime.datetime.now())


def is_folder(output: Path) -> bool:
    """Return whether a name, which may have dots, means a new folder for a series.

    Raises
    ------
    InputError
        If the name is that of another kind of file.
    """
    if output.suffix.lower() in OTHER_SUFFIXES:
        raise InputError(f"--output: got {output}, expected a new NAME.dcm or a new folder")
    return output.suffix != ".dcm"


def write_series(
    folder: str | Path, image: Volume, component: Component, settings: dict[str, Any],
    quantity: Quantity = ACTIVITY, made: datetime.datetime | None = None,
) -> Series:  # fmt: skip
    """Write a series into a new folder, one file per slice.

    Parameters
    ----------
    image : Volume
        Values >= 0; an activity in Bq/mm3.
    component : Component
    settings : dict
        Written as JSON into ImageComments (0020,4000); `duration_s` is the frame's duration.
    quantity : Quantity
    made : datetime, optional
        When the image was made. Default: now.

    Returns
    -------
    Series
        For more objects of the same study.

    Raises
    ------
    InputError
        If the folder exists, or values are negative or not finite.
    """
    if Path(folder).exists():
        raise InputError(f"{folder}: exists already, expected a new folder")
    series = _series(image, component, settings, quantity, made)
    for index in range(image.grid.shape[0]):
        _write_slice(Path(folder) / f"slice_{index:04d}.dcm", series, index)
    return series


def write_slice(
    path: str | Path, image: Volume, index: int, component: Component, settings: dict[str, Any]
) -> None:
    """Write one slice of a series; see `write_series`."""
    _write_slice(Path(path), _series(image, component, settings, ACTIVITY, None), index)


def _write_slice(path: Path, series: Series, index: int) -> None:
    image, component, settings = series.image, series.component, series.settings
    quantity = series.quantity
    data = _dataset(PositronEmissionTomographyImageStorage, series, index)
    data.SeriesType, data.Units = ["STATIC", "IMAGE"], quantity.units
    data.CountsSource, data.CollimatorType = "EMISSION", "NONE"
    data.update(_corrections(settings))
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
    data.update(_window(series))
    data.ImagePositionPatient = position_mm(image, index)
    data.ImageOrientationPatient = AXES
    data.PixelSpacing, data.SliceThickness = spacing_mm(image)
    data.PixelData = stored.tobytes()
    save(path, data)


def write_multiframe(
    path: str | Path, image: Volume, component: Component, settings: dict[str, Any],
    made: datetime.datetime | None = None,
) -> None:  # fmt: skip
    """Write one file with a frame per slice; see `write_series`.

    The object is Legacy Converted Enhanced PET: the series in one file. Enhanced PET itself demands
    a radionuclide and the motions of detector and table, which are not known here.
    """
    series = _series(image, component, settings, ACTIVITY, made)
    data = _dataset(LegacyConvertedEnhancedPETImageStorage, series, 0)
    stored, slope = _stored(image.array, MM3_PER_ML)
    spacing, thickness = spacing_mm(image)
    image_type = [*_image_type(component), "VOLUME", "NONE"]
    data.ImageType, data.InstanceNumber = image_type, 1
    data.NumberOfFrames = image.grid.shape[0]
    data.PixelPresentation, data.VolumetricProperties = "MONOCHROME", "VOLUME"
    data.VolumeBasedCalculationTechnique, data.PresentationLUTShape = "NONE", "IDENTITY"
    data.ContentQualification, data.LossyImageCompression = "RESEARCH", "00"
    data.BurnedInAnnotation, data.AcquisitionContextSequence = "NO", []
    data.ContentDate, data.ContentTime = data.SeriesDate, data.SeriesTime
    organisation = uid(data.SOPInstanceUID, "dimension")
    data.update(
        items(
            DimensionOrganizationSequence={"DimensionOrganizationUID": organisation},
            DimensionIndexSequence={
                "DimensionOrganizationUID": organisation,
                "DimensionIndexPointer": tag_for_keyword("InStackPositionNumber"),
                "FunctionalGroupPointer": tag_for_keyword("FrameContentSequence"),
            },
        )
    )
    shared = items(
        PixelMeasuresSequence={"PixelSpacing": spacing, "SliceThickness": thickness},
        PlaneOrientationSequence={"ImageOrientationPatient": AXES},
        PETFrameTypeSequence={
            "FrameType": image_type,
            "PixelPresentation": "MONOCHROME",
            "VolumetricProperties": "VOLUME",
            "VolumeBasedCalculationTechnique": "NONE",
        },
        PixelValueTransformationSequence={
            "RescaleSlope": slope,
            "RescaleIntercept": "0",
            "RescaleType": "US",
        },
        UnassignedSharedConvertedAttributesSequence={"Units": "BQML"},
    )
    shared.FrameVOILUTSequence = [_window(series)]
    shared.UnassignedSharedConvertedAttributesSequence[0].update(_corrections(settings))
    mapping = {
        "RealWorldValueFirstValueMapped": 0,
        "RealWorldValueLastValueMapped": MAX_STORED,
        "RealWorldValueIntercept": 0.0,
        "RealWorldValueSlope": float(slope),
        "LUTExplanation": "activity concentration",
        "LUTLabel": "BQML",
        "MeasurementUnitsCodeSequence": [code("Bq/ml", "UCUM", "Becquerels/milliliter")],
    }
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = [
        items(
            FrameContentSequence={
                "DimensionIndexValues": [index + 1],
                "StackID": "1",
                "InStackPositionNumber": index + 1,
            },
            PlanePositionSequence={"ImagePositionPatient": position_mm(image, index)},
            RealWorldValueMappingSequence=mapping,  # dciodvfy looks for it here alone
            UnassignedPerFrameConvertedAttributesSequence={},
        )
        for index in range(image.grid.shape[0])
    ]
    data.PixelData = stored.tobytes()
    save(Path(path), data)


def read_image(path: str | Path) -> tuple[Volume, dict[str, Any]]:
    """Read a series (a folder) or a multi-frame file of activity that this module wrote.

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
    planes: list[_Plane] = []
    for file in paths:
        with reading(file, "a DICOM PET image as tubepet writes it"):
            data = _uncompressed(file)
            planes += _planes(file, data)
            settings = _settings_of(data)
    first = planes[0]
    for plane in planes:
        if plane.shared != first.shared or plane.values.shape != first.values.shape:
            raise InputError(
                f"{path}: expected slices of one series, size, spacing and position (mm), got "
                f"{first.shared} and {plane.shared}"
            )
    planes.sort(key=lambda plane: plane.z_mm)
    z_mm, array = np.array([p.z_mm for p in planes]), np.stack([p.values for p in planes])
    _, dy, dx, thickness_mm, x_mm, y_mm = first.shared
    steps = np.diff(z_mm)
    dz = float(steps.mean()) if len(steps) else thickness_mm
    if not (dz > 0 and np.allclose(steps, dz, atol=1e-3)):
        raise InputError(f"{path}: expected slices evenly apart, one at each place")
    nz, ny, nx = array.shape
    grid = Grid((nz, ny, nx), (dz, dy, dx), (float(z_mm[0]), y_mm, x_mm))
    check_mm(path, "voxels", np.array(grid.voxel_mm))
    check_mm(path, "places", np.array(grid.origin_mm))
    with np.errstate(over="ignore"):
        values = (array / MM3_PER_ML).astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError(
            f"{path}: got up to {array.max():g} Bq/ml, expected values that 32 bits hold"
        )
    return Volume(values, grid, "Bq/mm3"), settings


@dataclass(frozen=True)
class _Plane:
    """One slice: z (mm), values (Bq/ml), and what all slices of an image share.

    Shared are the series, and in mm the height and width of a pixel, thickness, x and y.
    """

    z_mm: float
    values: NDArray[np.float64]
    shared: tuple[str, float, float, float, float, float]


def _uncompressed(path: Path) -> FileDataset:
    """Read a file whose pixels are as many bytes as its header says."""
    check_bytes(path, io.MAX_VOLUME_BYTES)
    syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    if syntax != ExplicitVRLittleEndian:  # a deflated file may unpack to anything
        raise InputError(f"{path}: got a transfer syntax {syntax}, expected an uncompressed file")
    data = pydicom.dcmread(path)
    wanted = 2 * data.Rows * data.Columns * int(data.get("NumberOfFrames", 1))
    bits = (data.BitsAllocated, data.PixelRepresentation)
    if len(data.PixelData) != wanted or not 0 < wanted or bits != (16, 0):
        raise InputError(
            f"{path}: got {len(data.PixelData)} bytes of pixels, expected {wanted}, 16 bits each, "
            "without a sign"
        )
    return data


def _planes(path: Path, data: FileDataset) -> list[_Plane]:
    """Return the slices of a file."""
    stored = np.frombuffer(data.PixelData, "<u2").reshape(-1, data.Rows, data.Columns)
    found = []
    for index, plane in enumerate(stored):
        axes = _numbers(path, data, index, "PlaneOrientation", "ImageOrientationPatient", 6)
        unit = _field(data, index, "RealWorldValueMapping", "LUTLabel" if _many(data) else "Units")
        if unit != "BQML" or axes != AXES:
            raise InputError(f"{path}: got units {unit} and axes {axes}, expected BQML and {AXES}")
        x_mm, y_mm, z_mm = _numbers(path, data, index, "PlanePosition", "ImagePositionPatient", 3)
        lengths = [
            *_numbers(path, data, index, "PixelMeasures", "PixelSpacing", 2),
            *_numbers(path, data, index, "PixelMeasures", "SliceThickness", 1),
        ]
        (slope,) = _numbers(path, data, index, "PixelValueTransformation", "RescaleSlope", 1)
        (offset,) = _numbers(path, data, index, "PixelValueTransformation", "RescaleIntercept", 1)
        if not min(slope, *lengths) > 0:
            raise InputError(
                f"{path}: got slope {slope:g} and lengths {lengths} mm, expected more than 0"
            )
        high_mm, wide_mm, thick_mm = lengths
        shared = (str(data.SeriesInstanceUID), high_mm, wide_mm, thick_mm, x_mm, y_mm)
        found.append(_Plane(z_mm, plane * slope + offset, shared))
    return found


def _many(data: FileDataset) -> bool:
    return "NumberOfFrames" in data


def _field(data: FileDataset, index: int, group: str, name: str) -> Any:
    """Return a field of a slice: of its frame, of all frames, or of its file."""
    if not _many(data):
        return data.get(name)
    sequence = f"{group}Sequence"
    places = (data.PerFrameFunctionalGroupsSequence[index], data.SharedFunctionalGroupsSequence[0])
    holding = [place[sequence][0] for place in places if sequence in place]
    return next((item.get(name) for item in holding if name in item), None)


def _numbers(
    path: Path, data: FileDataset, index: int, group: str, name: str, num: int
) -> list[float]:
    """Return the finite numbers of a field of a slice."""
    given = _field(data, index, group, name)
    values = [given] if isinstance(given, str | float | int) else list(given or [])
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    if len(numbers) != num or not all(map(math.isfinite, numbers)):
        raise InputError(f"{path}: {name} got {given}, expected {num} finite numbers")
    return numbers


def _settings_of(data: FileDataset) -> dict[str, Any]:
    try:
        settings = json.loads(data.get("ImageComments", ""))
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def uid(*parts: str) -> str:
    """Return an identifier (UID) that is a hash of these texts."""
    return str(generate_uid(entropy_srcs=["tubepet", *parts]))


def frame_uid(series: Series) -> str:
    """Return the frame of reference that all of a study's objects lie in."""
    return uid(series.content, "frame")


def series_uid(sop_class: str, series: Series, own: str = "") -> str:
    """Return the identifier of a series; see `new_object`."""
    return uid(series.content, sop_class, own)


def instance_uid(sop_class: str, series: Series, own: str = "", index: int = 0) -> str:
    """Return the identifier of an object; see `new_object`."""
    return uid(series.content, sop_class, own, str(index))


def new_object(
    sop_class: str, series: Series, modality: str, own: str = "", index: int = 0
) -> FileDataset:
    """Return component, inspection, series and equipment of an object, without its content.

    Parameters
    ----------
    sop_class : str
        Kind of object. Objects of one kind in a study with the same `own` are one series.
    modality : str
        Defined term of DICOM.
    own : str
        Hash of what the object holds beside the image of the series; its identifiers depend on
        both.
    index : int
        Number of the object in its series.
    """
    component = series.component
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = sop_class, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = instance_uid(sop_class, series, own, index)
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SpecificCharacterSet = "ISO_IR 192"
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.StudyInstanceUID = uid(series.content, "study")
    data.SeriesInstanceUID = series_uid(sop_class, series, own)
    data.StudyDate = data.SeriesDate = series.made.strftime("%Y%m%d")
    data.StudyTime = data.SeriesTime = series.made.strftime("%H%M%S")
    data.StudyID, data.SeriesNumber, data.AccessionNumber = "1", 1, ""
    data.ReferringPhysicianName = data.PatientBirthDate = data.PatientSex = ""
    data.PatientName = data.PatientID = text(component.name)[:LO_LENGTH]
    data.StudyDescription = text(component.inspection)[:LO_LENGTH]
    data.Manufacturer, data.ManufacturerModelName = "tubepet", "tubepet"
    data.SoftwareVersions, data.DeviceSerialNumber = tubepet.__version__, "0"
    data.Modality = modality
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
    return data


def _dataset(sop_class: str, series: Series, index: int) -> FileDataset:
    """Return what both objects of an image have in common."""
    data = new_object(sop_class, series, "PT", index=index)
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = frame_uid(series), ""
    data.Laterality = ""
    data.SeriesDescription = (
        "GENERATED, not a measurement" if series.component.derivation else "Reconstructed activity"
    )
    data.ImageComments = json.dumps(series.settings, sort_keys=True)
    if series.component.derivation:
        data.DerivationDescription = series.component.derivation
    data.Rows, data.Columns = series.image.grid.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    return data


def _image_type(component: Component) -> list[str]:
    return ["DERIVED" if component.derivation else "ORIGINAL", "PRIMARY"]


def _corrections(settings: dict[str, Any]) -> Dataset:
    """Return which corrections the image is known to have.

    The workflow's images, known by their note, and those of `tubepet reconstruct` with a
    calibration are normalised, and corrected for scatter and randoms.
    """
    method = _attenuation(settings)
    is_own = ATTENUATION_NOTE in str(settings.get("note", "")) or (
        "randoms" in settings and settings.get("unit") == "Bq/mm3"
    )
    names = ["NORM", "SCAT", "RAN"] if is_own else []
    has_decay = any(factor != 1 for factor in settings.get("decay_factors") or [])
    said = Dataset()
    said.CorrectedImage = [
        *names[:1], *["ATTN"] * bool(method), *names[1:], *["DECY"] * has_decay,
        *["DTIM"] * (is_own and _is_share(settings.get("live_share"))),
    ]  # fmt: skip
    said.DecayCorrection = "START" if has_decay else "NONE"
    if method:
        said.AttenuationCorrectionMethod = method
    return said


def text(given: str) -> str:
    """Return a text as DICOM takes it: without control characters and backslashes."""
    return shown(given).replace("\\", "/")


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and value < 1


def _attenuation(settings: dict[str, Any]) -> str:
    """Return which attenuation map was used: the file's name, or the method in the image's note."""
    kind = str(settings.get("note", "")).rpartition(ATTENUATION_NOTE)[2]
    return text(str(settings.get("mu") or METHODS.get(kind, "")))[:LO_LENGTH]


def _stored(image: NDArray[np.floating], factor: float) -> tuple[NDArray[np.uint16], str]:
    values = image.astype(np.float64) * factor
    slope = f"{max(float(values.max()) / MAX_STORED, 1e-30):.9e}"  # DS holds 16 characters
    return np.clip(np.rint(values / float(slope)), 0, MAX_STORED).astype("<u2"), slope


def _window(series: Series) -> Dataset:
    """Ask viewers to show all slices on one scale: 0 black, the largest value of the image white.

    Without it a viewer may take the scale of the first slice, in which there is often nothing.
    """
    largest = float(series.image.array.max()) * series.quantity.factor or 1.0
    said = Dataset()
    # from center - 0.5 - (width - 1) / 2 to center - 0.5 + (width - 1) / 2 (PS3.3, C.11.2.1.2)
    said.WindowCenter, said.WindowWidth = f"{(largest + 1) / 2:.9e}", f"{largest + 1:.9e}"
    return said


def position_mm(image: Volume, index: int) -> list[str]:
    """Return x, y and z (mm, as texts) of the first pixel of a slice."""
    oz, oy, ox = image.grid.origin_mm
    return [f"{v:.6f}" for v in (ox, oy, oz + index * image.grid.voxel_mm[0])]


def spacing_mm(image: Volume) -> tuple[list[str], str]:
    """Return height and width of a pixel, and thickness of a slice (mm, as texts)."""
    dz, dy, dx = image.grid.voxel_mm
    return [f"{dy:.6f}", f"{dx:.6f}"], f"{dz:.6f}"


def items(**sequences: dict[str, Any]) -> Dataset:
    """Return a dataset of sequences with one item each."""
    data = Dataset()
    for name, values in sequences.items():
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        setattr(data, name, [item])
    return data


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """Return a coded concept: its code, the scheme of the code, and its meaning."""
    data = Dataset()
    data.CodeValue, data.CodingSchemeDesignator, data.CodeMeaning = value, scheme, meaning
    return data


def reference(sop_class: str, instance: str) -> Dataset:
    """Return a reference to an object."""
    data = Dataset()
    data.ReferencedSOPClassUID, data.ReferencedSOPInstanceUID = sop_class, instance
    return data


def save(path: Path, data: FileDataset) -> None:
    """Write an object; the file exists only if it is whole."""
    with io.atomic(path) as part:
        pydicom.dcmwrite(part, data, enforce_file_format=True)
