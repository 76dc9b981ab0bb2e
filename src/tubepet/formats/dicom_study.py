"""Write the inspection of one part as DICOM, for any viewer.

One study, in one frame of reference, holds the map of z (PET), the indications (Segmentation), the
picture with the verdict (Secondary Capture), and the numbers (`tubepet.formats.dicom_report`). A
segment marks the place and size of an indication, not its shape.

References
----------
DICOM PS3.3, sections A.51 and C.8.20 (Segmentation), A.8.1 and C.8.6 (Secondary Capture).
"""

import datetime
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels import pack_bits
from pydicom.uid import (
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

import tubepet
from tubepet.formats import dicom_pet, dicom_report
from tubepet.formats.dicom_pet import AXES, Series, code, items
from tubepet.inspect import shapes
from tubepet.inspect.part import Part
from tubepet.inspect.sizing import Indication
from tubepet.inspect.verdict import Inspection
from tubepet.phantom.geometry import CRACK_LENGTH_RATIO, GROOVE_LENGTH_RATIO
from tubepet.types import Volume

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MAP = dicom_pet.Quantity(
    "NONE", 1.0, "z of the likeliest defect (no activity)",
    "Score test of the events against the drawing, by tubepet inspect; values below 0 are 0.",
)  # fmt: skip
LENGTH_RATIO = {"groove": GROOVE_LENGTH_RATIO, "crack": CRACK_LENGTH_RATIO}
AROUND_MM = 1.0  # between the places around a ring groove
LIME = [57497, 10748, 54273]  # the crosses of map.png: CIELab of (0, 255, 0), in 16 bits


def write_study(
    folder: Path, found: Inspection, part: Part, score_map: Volume, picture: Path,
    asked: dict[str, Any], made: datetime.datetime,
) -> None:  # fmt: skip
    """Write a new folder with map, indications, picture and numbers.

    Without an indication there is no segmentation.

    Parameters
    ----------
    score_map : Volume
        `verdict.score_map`.
    picture : Path
        PNG of `figures.draw_verdict`.
    asked : dict
        Settings of the inspection; `part_path` names the part.
    made : datetime
        When the part was measured, if known.
    """
    positive = Volume(np.maximum(score_map.array, 0), score_map.grid)
    facts = {"verdict": found.verdict, "reason": found.reason, **asked}
    component = dicom_pet.Component(Path(asked["part_path"]).stem)
    series = dicom_pet.write_series(folder, positive, component, facts, MAP, made)
    segments = None
    if found.indications:
        masks = np.stack([marked(one, found, part) for one in found.indications])
        segments = segmentation(series, apart(masks), found.indications)
        dicom_pet.save(folder / "indications.dcm", segments)
    dicom_pet.save(folder / "picture.dcm", captured(series, picture, found))
    dicom_pet.save(folder / "report.dcm", dicom_report.report(series, found, segments))


def marked(one: Indication, found: Inspection, part: Part) -> Mask:
    """Mark the voxels of an indication on the image, shape (nz, ny, nx).

    The mark is a ball around the place, as wide as the indication and at least as the diagonal of a
    voxel. For a groove or a crack it is longer along the axis. A ring groove has balls all around.
    """
    grid = found.fitted.grid
    places_mm = np.array([[one.x_mm, one.y_mm, one.z_mm]])
    if one.kind == "ring_groove":
        places_mm = _around_mm(one, found, part)
    half_mm = np.array([LENGTH_RATIO.get(one.kind, 1.0), 1.0, 1.0]) * one.size_mm / 2
    half_mm = np.maximum(half_mm, math.sqrt(3) / 2 * np.array(grid.voxel_mm))
    axes = [
        axis.reshape([-1 if i == k else 1 for k in range(3)])
        for i, axis in enumerate(grid.axes_mm())
    ]
    mask = np.zeros(grid.shape, bool)
    for place_mm in places_mm[:, ::-1]:
        away_mm = [axis - at for axis, at in zip(axes, place_mm, strict=True)]
        mask |= sum((away / half) ** 2 for away, half in zip(away_mm, half_mm, strict=True)) <= 1
        mask[tuple(int(np.abs(away).argmin()) for away in away_mm)] = True  # also at the edge
    return mask


def _around_mm(one: Indication, found: Inspection, part: Part) -> Array:
    """Return places all around a ring groove, (n, 3) of x, y, z."""
    on_wall = shapes.surface(part).spread(AROUND_MM)
    pieces = shapes.cut(on_wall, one.kind, one.size_mm).moved(found.fitted.moved).table
    places_mm = pieces[["x_mm", "y_mm", "z_mm"]].to_numpy()
    near = places_mm[np.abs(places_mm[:, 2] - one.z_mm) < AROUND_MM]
    near[:, 2] = one.z_mm
    return near if len(near) else np.array([[one.x_mm, one.y_mm, one.z_mm]])


def apart(masks: Mask) -> Mask:
    """Give every voxel to the smallest mark that holds it, for viewers lose overlapping segments.

    A mark that would have no voxel left keeps its own.

    Parameters
    ----------
    masks : bool array, shape (n, nz, ny, nx)

    Returns
    -------
    bool array, shape (n, nz, ny, nx)
    """
    taken, given = np.zeros(masks.shape[1:], bool), masks.copy()
    for index in np.argsort(masks.sum(axis=(1, 2, 3)), kind="stable"):
        left = masks[index] & ~taken
        if left.any():
            given[index] = left
        taken |= masks[index]
    return given


def segmentation(series: Series, masks: Mask, indications: list[Indication]) -> FileDataset:
    """Return a Segmentation of the map with one segment for each indication.

    Parameters
    ----------
    masks : bool array, shape (n, nz, ny, nx)
        One for each indication, none of them empty; they may overlap.
    """
    labels = [dicom_report.label(one, number) for number, one in enumerate(indications, 1)]
    own = hashlib.sha256(np.packbits(masks).tobytes() + repr(labels).encode()).hexdigest()
    data = dicom_pet.new_object(SegmentationStorage, series, "SEG", own)
    data.SeriesNumber, data.SeriesDescription = 2, "Indications of tubepet inspect"
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = dicom_pet.frame_uid(series), ""
    data.ContentDate, data.ContentTime = data.SeriesDate, data.SeriesTime
    data.ImageType, data.InstanceNumber = ["DERIVED", "PRIMARY"], 1
    data.ContentLabel, data.ContentCreatorName = "INDICATIONS", "tubepet"
    data.ContentDescription = "Marks of place and size, not shapes"
    data.SegmentationType, data.LossyImageCompression = "BINARY", "00"
    data.SegmentsOverlap = "YES" if (masks.sum(axis=0) > 1).any() else "NO"
    data.CodingSchemeIdentificationSequence = dicom_report.schemes()
    data.SegmentSequence = [
        _segment(series, number, label, one.kind)
        for number, (label, one) in enumerate(zip(labels, indications, strict=True), 1)
    ]
    frames = np.argwhere(masks.any(axis=(2, 3)))  # segment and slice
    data.NumberOfFrames = len(frames)
    data.Rows, data.Columns = masks.shape[2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 1, 1, 0, 0
    data.PixelData = pack_bits(masks[tuple(frames.T)].astype(np.uint8))
    spacing_mm, thickness_mm = dicom_pet.spacing_mm(series.image)
    data.SharedFunctionalGroupsSequence = [
        items(
            PixelMeasuresSequence={
                "PixelSpacing": spacing_mm,
                "SliceThickness": thickness_mm,
                "SpacingBetweenSlices": thickness_mm,
            },
            PlaneOrientationSequence={"ImageOrientationPatient": AXES},
        )
    ]
    heights = {index: rank for rank, index in enumerate(np.unique(frames[:, 1]), 1)}
    data.PerFrameFunctionalGroupsSequence = [
        _frame(series, int(segment) + 1, int(index), heights[index]) for segment, index in frames
    ]
    data.update(_dimensions(data.SOPInstanceUID))
    data.ReferencedSeriesSequence = [_map_of(series)]
    return data


def _segment(series: Series, number: int, label: str, kind: str) -> Dataset:
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = number, label
    segment.SegmentAlgorithmType = "AUTOMATIC"
    segment.SegmentAlgorithmName = f"tubepet {tubepet.__version__}"
    # there is no code for a defect of a component; this one is the nearest that viewers know
    abnormal = code("49755003", "SCT", "Morphologically Abnormal Structure")
    segment.SegmentedPropertyCategoryCodeSequence = [abnormal]
    segment.SegmentedPropertyTypeCodeSequence = [dicom_report.own_code(kind)]
    segment.RecommendedDisplayCIELabValue = LIME
    segment.TrackingID, segment.TrackingUID = label, dicom_pet.uid(series.content, "track", label)
    return segment


def _frame(series: Series, number: int, index: int, height: int) -> Dataset:
    """Return the attributes of one frame: its segment, and its rank by height."""
    source = _slice_of(series, index)
    source.PurposeOfReferenceCodeSequence = [
        code("121322", "DCM", "Source image for image processing operation")
    ]
    return items(
        FrameContentSequence={"DimensionIndexValues": [number, height]},
        PlanePositionSequence={"ImagePositionPatient": dicom_pet.position_mm(series.image, index)},
        SegmentIdentificationSequence={"ReferencedSegmentNumber": number},
        DerivationImageSequence={
            "SourceImageSequence": [source],
            "DerivationCodeSequence": [code("113076", "DCM", "Segmentation")],
        },
    )


def _dimensions(content: str) -> Dataset:
    """Say that frames are ordered by segment, then by height."""
    organisation = dicom_pet.uid(content, "dimension")
    data = items(DimensionOrganizationSequence={"DimensionOrganizationUID": organisation})
    data.DimensionIndexSequence = []
    for pointer, group in (
        ("ReferencedSegmentNumber", "SegmentIdentificationSequence"),
        ("ImagePositionPatient", "PlanePositionSequence"),
    ):
        index = Dataset()
        index.DimensionOrganizationUID = organisation
        index.DimensionIndexPointer = tag_for_keyword(pointer)
        index.FunctionalGroupPointer = tag_for_keyword(group)
        data.DimensionIndexSequence.append(index)
    return data


def _slice_of(series: Series, index: int) -> Dataset:
    """Return a reference to a slice of the map."""
    kind = PositronEmissionTomographyImageStorage
    return dicom_pet.reference(kind, dicom_pet.instance_uid(kind, series, index=index))


def _map_of(series: Series) -> Dataset:
    """Return a reference to the map."""
    whole = Dataset()
    whole.SeriesInstanceUID = dicom_pet.series_uid(PositronEmissionTomographyImageStorage, series)
    num_slices = series.image.grid.shape[0]
    whole.ReferencedInstanceSequence = [_slice_of(series, index) for index in range(num_slices)]
    return whole


def captured(series: Series, picture: Path, found: Inspection) -> FileDataset:
    """Return a picture, which has the verdict in its title, as RGB."""
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    own = hashlib.sha256(pixels.tobytes()).hexdigest()
    data = dicom_pet.new_object(SecondaryCaptureImageStorage, series, "OT", own)
    data.SeriesNumber, data.InstanceNumber = 3, 1
    data.SeriesDescription = f"Verdict: {found.verdict}"
    data.ImageComments = f"{found.verdict}: {found.reason}"
    data.ConversionType, data.ImageType = "WSD", ["DERIVED", "SECONDARY"]
    data.BurnedInAnnotation, data.LossyImageCompression = "YES", "00"  # the name of the part
    data.PatientOrientation = data.Laterality = ""
    data.Rows, data.Columns = pixels.shape[:2]
    data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"
    data.PlanarConfiguration, data.PixelRepresentation = 0, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    return data
