"""Write the numbers of an inspection as a DICOM structured report (Comprehensive 3D SR).

References
----------
DICOM PS3.16, TID 1500 (Measurement Report), TID 1411 and 1501 (groups of measurements).
"""

import hashlib
import json
import math
from typing import Any

from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import Comprehensive3DSRStorage, PositronEmissionTomographyImageStorage

import tubepet
from tubepet.formats import dicom_pet
from tubepet.formats.dicom_pet import Series, code, items
from tubepet.inspect.sizing import Indication
from tubepet.inspect.verdict import Inspection

OWN_SCHEME = "99TUBEPET"  # of codes that no standard has
MILLIMETRE, NO_UNIT = ("mm", "UCUM", "mm"), ("1", "UCUM", "no units")
CODE_LENGTH = 16


def label(one: Indication, number: int) -> str:
    """Return the label of an indication in a viewer."""
    return f"{one.kind} {number}: z {one.z:.1f}, {one.size_mm:.1f} mm"


def own_code(meaning: str) -> Dataset:
    """Return a concept of tubepet's own."""
    return code(meaning.replace(" ", "_")[:CODE_LENGTH], OWN_SCHEME, meaning)


def schemes() -> list[Dataset]:
    """Return the item that declares the coding scheme of tubepet's own codes."""
    scheme = Dataset()
    scheme.CodingSchemeDesignator = OWN_SCHEME
    scheme.CodingSchemeName = scheme.CodingSchemeResponsibleOrganization = "tubepet"
    return [scheme]


def report(series: Series, found: Inspection, segments: FileDataset | None) -> FileDataset:
    """Return the report: verdict, false-call rate, and place, size and z of each indication.

    Parameters
    ----------
    segments : FileDataset or None
        The segmentation that the report refers to; None: there are no indications.
    """
    own = hashlib.sha256(json.dumps(found.as_json(), sort_keys=True).encode()).hexdigest()
    data = dicom_pet.new_object(Comprehensive3DSRStorage, series, "SR", own)
    data.SeriesNumber, data.InstanceNumber = 4, 1
    data.SeriesDescription = "Report of tubepet inspect"
    data.ContentDate, data.ContentTime = data.SeriesDate, data.SeriesTime
    data.CompletionFlag, data.VerificationFlag = "COMPLETE", "UNVERIFIED"
    data.ReferencedPerformedProcedureStepSequence = data.PerformedProcedureCodeSequence = []
    data.CodingSchemeIdentificationSequence = schemes()
    groups = [_whole(series, found)]
    if segments is not None:
        data.CurrentRequestedProcedureEvidenceSequence = [_evidence(segments)]
        for one, segment in zip(found.indications, segments.SegmentSequence, strict=True):
            groups.append(_indication(series, one, segment, segments))
    root = _container(None, code("126000", "DCM", "Imaging Measurement Report"), "1500")
    root.ContentSequence = [
        _item("HAS CONCEPT MOD", code("121049", "DCM", "Language of Content Item and Descendants"),
              code("en", "RFC5646", "English")),
        _item("HAS OBS CONTEXT", code("121005", "DCM", "Observer Type"),
              code("121007", "DCM", "Device")),
        _item("HAS OBS CONTEXT", code("121012", "DCM", "Device Observer UID"),
              dicom_pet.uid("device", tubepet.__version__), "UIDREF"),
        _item("HAS OBS CONTEXT", code("121013", "DCM", "Device Observer Name"),
              f"tubepet {tubepet.__version__}"),
        _item("HAS CONCEPT MOD", code("121058", "DCM", "Procedure reported"),
              code("82918005", "SCT", "Positron emission tomography")),
        _container("CONTAINS", code("126010", "DCM", "Imaging Measurements"), "", groups),
        _container(
            "CONTAINS", code("C0034375", "UMLS", "Qualitative Evaluations"), "",
            [_item("CONTAINS", own_code("verdict"), own_code(found.verdict)),
             _item("CONTAINS", own_code("reason"), found.reason)],
        ),
    ]  # fmt: skip
    data.update(root)
    return data


def _whole(series: Series, found: Inspection) -> Dataset:
    """Return the measurements of the whole part."""
    numbers = {
        "false-call rate": found.false_call_rate,
        "threshold z": found.threshold_z,
        "largest z": found.largest_z,
        "p-value": found.p_value,
    }
    tracked = _tracked("whole part", dicom_pet.uid(series.content, "track", "whole part"))
    return _group("1501", [*tracked, *_numbers(numbers, NO_UNIT)])


def _indication(
    series: Series, one: Indication, segment: Dataset, segments: FileDataset
) -> Dataset:
    """Return place, kind, size and z of an indication, and references to its segment."""
    kind = PositronEmissionTomographyImageStorage
    place = _item("CONTAINS", code("111010", "DCM", "Center"), None, "SCOORD3D")
    place.GraphicType, place.GraphicData = "POINT", [one.x_mm, one.y_mm, one.z_mm]
    place.ReferencedFrameOfReferenceUID = dicom_pet.frame_uid(series)
    marked = _item("CONTAINS", code("121191", "DCM", "Referenced Segment"), None, "IMAGE")
    marked.ReferencedSOPSequence = [_reference(segments)]
    marked.ReferencedSOPSequence[0].ReferencedSegmentNumber = segment.SegmentNumber
    source = code("121232", "DCM", "Source series for segmentation")
    sizes = {
        "size": one.size_mm,
        "size from": one.size_low_mm,
        "size to": one.size_high_mm,
    }
    content = [
        *_tracked(segment.TrackingID, segment.TrackingUID),
        _item("CONTAINS", code("121071", "DCM", "Finding"), own_code(one.kind)),
        marked,
        _item("CONTAINS", source, dicom_pet.series_uid(kind, series), "UIDREF"),
        place,
        *_numbers(sizes, MILLIMETRE),
        *_numbers({"z": one.z, "p-value": one.p_value}, NO_UNIT),
    ]
    return _group("1411", content)


def _group(template: str, content: list[Dataset]) -> Dataset:
    return _container("CONTAINS", code("125007", "DCM", "Measurement Group"), template, content)


def _tracked(name: str, uid: str) -> list[Dataset]:
    named = code("112039", "DCM", "Tracking Identifier")
    unique = code("112040", "DCM", "Tracking Unique Identifier")
    context = "HAS OBS CONTEXT"
    return [_item(context, named, name), _item(context, unique, uid, "UIDREF")]


def _numbers(values: dict[str, float], unit: tuple[str, str, str]) -> list[Dataset]:
    """Return measurements, without infinite ones."""
    found = []
    for name, value in values.items():
        if math.isfinite(value):
            item = _item("CONTAINS", own_code(name), None, "NUM")
            item.update(
                items(
                    MeasuredValueSequence={
                        "NumericValue": f"{value:.6g}",
                        "MeasurementUnitsCodeSequence": [code(*unit)],
                    }
                )
            )
            found.append(item)
    return found


def _container(
    relation: str | None, concept: Dataset, template: str, content: list[Dataset] | None = None
) -> Dataset:
    """Return a container of items."""
    item = _item(relation, concept, None, "CONTAINER")
    item.ContinuityOfContent = "SEPARATE"
    if template:
        mapping = {"MappingResource": "DCMR", "TemplateIdentifier": template}
        item.update(items(ContentTemplateSequence=mapping))
    item.ContentSequence = content or []
    return item


def _item(relation: str | None, concept: Dataset, value: Any, kind: str = "") -> Dataset:
    """Return an item: a code, an identifier, a text, or one whose value is yet to be set."""
    item = Dataset()
    if relation:
        item.RelationshipType = relation
    item.ValueType = kind or ("CODE" if isinstance(value, Dataset) else "TEXT")
    item.ConceptNameCodeSequence = [concept]
    if item.ValueType == "CODE":
        item.ConceptCodeSequence = [value]
    elif item.ValueType == "UIDREF":
        item.UID = value
    elif item.ValueType == "TEXT":
        item.TextValue = value
    return item


def _reference(data: FileDataset) -> Dataset:
    return dicom_pet.reference(data.SOPClassUID, data.SOPInstanceUID)


def _evidence(data: FileDataset) -> Dataset:
    """Return the study of an object that a report refers to."""
    study, series = Dataset(), Dataset()
    study.StudyInstanceUID, series.SeriesInstanceUID = data.StudyInstanceUID, data.SeriesInstanceUID
    series.ReferencedSOPSequence = [_reference(data)]
    study.ReferencedSeriesSequence = [series]
    return study
