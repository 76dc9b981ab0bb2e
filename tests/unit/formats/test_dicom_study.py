"""DICOM objects for viewers: indications, picture and report beside the map of z."""

import datetime
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import yaml

from tubepet import io
from tubepet.formats import dicom_pet, dicom_study
from tubepet.inspect import figures, verdict
from tubepet.inspect.part import Part
from tubepet.inspect.part_file import read_part
from tubepet.inspect.sizing import Indication
from tubepet.types import Grid, Volume

GRID = Grid((12, 40, 30), (2.0, 0.6, 0.8), (-11.2, -11.9, -11.4))
SHIFT_MM = np.array([0.0, 0.0, 0.5])
MADE = datetime.datetime(2026, 11, 29, 12, 30, 5)
SETTINGS = {"part_path": "part.yaml", "events": "e.cdh"}


def indication(kind: str, x_mm: float, y_mm: float, z_mm: float, size_mm: float) -> Indication:
    return Indication(
        kind, {kind: 1.0}, x_mm, y_mm, z_mm, size_mm, 0.8 * size_mm, 1.5 * size_mm, 6.24, 1e-6
    )


PIT, VOID = indication("pit", 7.3, -0.4, 3.1, 3.1), indication("void", -2.0, 1.0, -4.0, 5.0)
CRACK, RING = indication("crack", 0.1, -7.8, 0.3, 1.0), indication("ring_groove", 0, 0, 1.0, 2.0)


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Part:
    path = tmp_path_factory.mktemp("part") / "part.yaml"
    tube = {"family": "round", "length_mm": 14.0, "bore_radius_mm": 7.0, "wall_mm": 3.0}
    path.write_text(yaml.safe_dump(tube))
    return read_part(path)


@pytest.fixture(scope="module")
def score_map() -> Volume:
    array = np.random.default_rng(1).normal(size=GRID.shape).astype(np.float32)
    return Volume(array, GRID, "z")


def inspection(*indications: Indication, **changed: Any) -> verdict.Inspection:
    fitted: Any = SimpleNamespace(
        grid=GRID, moved=lambda mm: mm + SHIFT_MM, rates=np.ones(3), activity_bq_mm3=1.0
    )
    nothing: Any = None
    found = verdict.Inspection(
        verdict.DEFECT, "pit at (7.3, -0.4, 3.1) mm", 0.01, 3.7, 6.24, 1e-6, 1.0,
        list(indications), {}, fitted, {}, {}, nothing, nothing,
    )  # fmt: skip
    return replace(found, **changed)


def write(
    folder: Path, found: verdict.Inspection, part: Part, score_map: Volume, name: str = "part"
) -> Path:
    picture = folder.with_suffix(".png")
    io.write_figure(picture, figures.draw_verdict(found, score_map, part, name))
    settings = SETTINGS | {"part_path": f"{name}.yaml"}
    dicom_study.write_study(folder, found, part, score_map, picture, settings, MADE)
    return folder


def patient_mm(image: sitk.Image) -> np.ndarray:
    """Return the middle of what is marked, x, y, z."""
    middle = np.argwhere(sitk.GetArrayFromImage(image)).mean(axis=0)[::-1]
    return np.array(image.TransformContinuousIndexToPhysicalPoint(middle.tolist()))


@pytest.mark.parametrize("kind", ["void", "groove"])
def test_the_place_comes_back_in_another_reader(tmp_path, part, score_map, kind) -> None:
    shown = Volume(np.abs(score_map.array), GRID)
    series = dicom_pet.write_series(
        tmp_path / "d", shown, dicom_pet.Component("p"), {}, dicom_study.MAP
    )
    random = np.random.default_rng(2)
    for _ in range(12):
        place_mm, size_mm = random.uniform(-4, 4, 3), random.choice([0.2, 1.0, 4.0])
        one = indication(kind, *place_mm, size_mm)
        mask = dicom_study.marked(one, inspection(one), part)
        data = dicom_study.segmentation(series, mask[None], [one])
        dicom_pet.save(tmp_path / "s.dcm", data)
        image = sitk.ReadImage(str(tmp_path / "s.dcm"), imageIO="GDCMImageIO")
        np.testing.assert_allclose(image.GetSpacing(), GRID.voxel_mm[::-1])
        off_mm = np.abs(patient_mm(image) - place_mm)
        assert (off_mm <= np.array(GRID.voxel_mm[::-1]) / 2).all(), (place_mm, size_mm, off_mm)


def test_a_ring_groove_beyond_the_part_is_marked_where_it_is_said_to_be(part) -> None:
    beyond = replace(RING, z_mm=float(np.max(GRID.axes_mm()[0])))
    mask = dicom_study.marked(beyond, inspection(beyond), part)
    assert mask.any() and mask.any(axis=(1, 2)).argmax() > len(mask) // 2


def test_segments_share_no_voxel_and_none_is_lost(tmp_path, part, score_map) -> None:
    """OHIF loses a segment that overlaps another."""
    near = replace(PIT, x_mm=PIT.x_mm + 1.0, size_mm=1.5)
    found = inspection(PIT, near, VOID, RING)
    masks = np.stack([dicom_study.marked(one, found, part) for one in found.indications])
    assert (masks.sum(axis=0) > 1).any()
    apart = dicom_study.apart(masks)
    assert apart.sum(axis=0).max() == 1
    np.testing.assert_array_equal(apart.any(axis=0), masks.any(axis=0))
    np.testing.assert_array_equal(apart[1], masks[1])  # the smallest stays whole
    written = pydicom.dcmread(write(tmp_path / "d", found, part, score_map) / "indications.dcm")
    assert written.SegmentsOverlap == "NO"
    assert written.pixel_array.sum() == masks.any(axis=0).sum()


def test_a_mark_on_the_place_of_another_keeps_its_voxels(tmp_path, part, score_map) -> None:
    folder = write(tmp_path / "d", inspection(VOID, replace(VOID, kind="pit")), part, score_map)
    written = pydicom.dcmread(folder / "indications.dcm")
    assert written.SegmentsOverlap == "YES"
    np.testing.assert_array_equal(voxels_of(written, 1), voxels_of(written, 2))


@pytest.fixture(scope="module")
def study(tmp_path_factory, part, score_map) -> Path:
    found = inspection(PIT, VOID, CRACK, RING)
    return write(tmp_path_factory.mktemp("study") / "d", found, part, score_map)


def voxels_of(segments: pydicom.Dataset, number: int) -> np.ndarray:
    """Return the voxels of a segment in mm, (n, 3) of x, y, z, from the places of the frames."""
    points = []
    height_mm, width_mm = (
        segments.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    )
    pixels = segments.pixel_array
    for frame, group in zip(pixels, segments.PerFrameFunctionalGroupsSequence, strict=True):
        if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            first = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
            rows, columns = np.nonzero(frame)
            steps = np.stack([columns * width_mm, rows * height_mm, 0 * rows], axis=1)
            points.append(first + steps)
    return np.concatenate(points)


def test_every_indication_is_a_segment(study) -> None:
    segments = pydicom.dcmread(study / "indications.dcm")
    labels = [one.SegmentLabel for one in segments.SegmentSequence]
    assert labels == [
        "pit 1: z 6.2, 3.1 mm", "void 2: z 6.2, 5.0 mm", "crack 3: z 6.2, 1.0 mm",
        "ring_groove 4: z 6.2, 2.0 mm",
    ]  # fmt: skip
    assert {one.SegmentAlgorithmType for one in segments.SegmentSequence} == {"AUTOMATIC"}
    voxel_mm = np.array(GRID.voxel_mm[::-1])
    for number, one in ((1, PIT), (2, VOID)):
        away = voxels_of(segments, number) - [one.x_mm, one.y_mm, one.z_mm]
        half_mm = np.maximum(one.size_mm / 2, np.sqrt(3) / 2 * voxel_mm)
        assert (((away / half_mm) ** 2).sum(axis=1) <= 1 + 1e-9).all()
        volume = 4 / 3 * np.pi * np.prod(half_mm) / np.prod(voxel_mm)
        assert len(away) == pytest.approx(volume, rel=0.15)  # voxels of a ball
    crack = voxels_of(segments, 3)
    assert np.ptp(crack[:, 2]) == 6.0  # 8 mm long: slices at -3.2 to 2.8 mm
    assert np.abs(crack[:, :2] - [CRACK.x_mm, CRACK.y_mm]).max() < 0.8
    ring = voxels_of(segments, 4)
    radius, angle = np.hypot(ring[:, 0], ring[:, 1]), np.arctan2(ring[:, 1], ring[:, 0])
    # cut into the wall 7 mm from the axis, at most 1 mm deep
    assert radius.min() > 5.8 and radius.max() < 9.2
    assert np.diff(np.sort(angle)).max() < 0.2 and np.ptp(ring[:, 2]) <= 2.0


def test_all_objects_are_of_one_study_and_refer_to_each_other(study) -> None:
    paths = sorted(study.iterdir())
    files = {path.stem: pydicom.dcmread(path) for path in paths}
    slices = {file.SOPInstanceUID: file for name, file in files.items() if "slice" in name}
    assert len(slices) == GRID.shape[0] and len(files) == len(slices) + 3
    times = {(f.StudyInstanceUID, f.StudyDate, f.StudyTime, f.SeriesTime) for f in files.values()}
    assert {time[1:] for time in times} == {("20261129", "123005", "123005")} and len(times) == 1
    assert len({file.SeriesInstanceUID for file in files.values()}) == 4
    assert len({file.SOPInstanceUID for file in files.values()}) == len(files)
    segments, report = files["indications"], files["report"]
    assert segments.FrameOfReferenceUID == files["slice_0000"].FrameOfReferenceUID
    (whole,) = segments.ReferencedSeriesSequence
    assert whole.SeriesInstanceUID == files["slice_0000"].SeriesInstanceUID
    known = {one.ReferencedSOPInstanceUID for one in whole.ReferencedInstanceSequence}
    assert known == set(slices)
    for group in segments.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        position = slices[source.ReferencedSOPInstanceUID].ImagePositionPatient
        assert position == group.PlanePositionSequence[0].ImagePositionPatient
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == segments.SOPInstanceUID
    assert evidence.SeriesInstanceUID == segments.SeriesInstanceUID


def said(item: pydicom.Dataset) -> dict[str, Any]:
    """Return the values below an item by name."""
    values: dict[str, Any] = {}
    for one in item.ContentSequence:
        name = one.ConceptNameCodeSequence[0].CodeMeaning
        if one.ValueType == "CODE":
            values[name] = one.ConceptCodeSequence[0].CodeMeaning
        elif one.ValueType == "NUM":
            measured = one.MeasuredValueSequence[0]
            unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
            values[name] = (float(measured.NumericValue), unit)
        elif one.ValueType == "CONTAINER":
            values.setdefault(name, []).append(said(one))
        else:
            values[name] = one
    return values


def test_the_report_has_the_numbers(study) -> None:
    report = said(pydicom.dcmread(study / "report.dcm"))
    (judged,) = report["Qualitative Evaluations"]
    assert judged["verdict"] == "defect" and "pit at" in judged["reason"].TextValue
    whole, *groups = report["Imaging Measurements"][0]["Measurement Group"]
    assert whole["false-call rate"] == (0.01, "1") and whole["threshold z"] == (3.7, "1")
    segments = pydicom.dcmread(study / "indications.dcm")
    for one, group, segment in zip(
        (PIT, VOID, CRACK, RING), groups, segments.SegmentSequence, strict=True
    ):
        assert group["Finding"] == one.kind and group["z"] == (6.24, "1")
        assert group["size"] == (one.size_mm, "mm")
        assert group["size to"] == pytest.approx((1.5 * one.size_mm, "mm"))
        place = group["Center"]
        np.testing.assert_allclose(place.GraphicData, [one.x_mm, one.y_mm, one.z_mm], rtol=1e-6)
        assert place.ReferencedFrameOfReferenceUID == segments.FrameOfReferenceUID
        marked = group["Referenced Segment"].ReferencedSOPSequence[0]
        assert marked.ReferencedSOPInstanceUID == segments.SOPInstanceUID
        assert marked.ReferencedSegmentNumber == segment.SegmentNumber
        assert group["Tracking Unique Identifier"].UID == segment.TrackingUID


@pytest.mark.parametrize(
    ("verdict_", "threshold_z"), [(verdict.CLEAN, 3.7), (verdict.UNKNOWN, np.inf)]
)
def test_without_an_indication_the_picture_says_so(
    tmp_path, part, score_map, verdict_, threshold_z
) -> None:
    found = inspection(verdict=verdict_, reason="because", threshold_z=threshold_z)
    folder = write(tmp_path / "d", found, part, score_map)
    assert not (folder / "indications.dcm").exists()
    data = pydicom.dcmread(folder / "picture.dcm")
    assert data.ImageComments == f"{verdict_}: because"
    assert data.SeriesDescription == f"Verdict: {verdict_}"
    shown = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "picture.dcm")))[0]
    png = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "d.png")))
    np.testing.assert_array_equal(shown, png[..., :3])
    report = said(pydicom.dcmread(folder / "report.dcm"))
    assert report["Qualitative Evaluations"][0]["verdict"] == verdict_
    (whole,) = report["Imaging Measurements"][0]["Measurement Group"]
    assert ("threshold z" in whole) == bool(np.isfinite(threshold_z))


def test_the_picture_has_the_verdict_in_its_title(part, score_map) -> None:
    found = inspection(verdict=verdict.UNKNOWN, reason="because")
    figure = figures.draw_verdict(found, score_map, part, "a$b^$" + "c" * 90)
    title = figure.get_suptitle()
    assert title.endswith(": cannot tell (because)") and len(title) < 80


def test_the_same_input_gives_the_same_bytes(tmp_path, part, score_map) -> None:
    first, second, other = (
        write(tmp_path / name, inspection(*indications), part, score_map)
        for name, indications in (
            ("1", [PIT, VOID]), ("2", [PIT, VOID]), ("3", [replace(PIT, x_mm=6.5), VOID]),
        )
    )  # fmt: skip
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name
    for name in ("indications", "picture", "report"):
        before, after = (pydicom.dcmread(f / f"{name}.dcm") for f in (first, other))
        assert before.SOPInstanceUID != after.SOPInstanceUID, name
        assert before.SeriesInstanceUID != after.SeriesInstanceUID
        assert before.StudyInstanceUID == after.StudyInstanceUID  # the map is the same


def test_names_are_harmless(tmp_path, part, score_map) -> None:
    for number, name in enumerate(("b\\c\x1b[2J$^$" + "x" * 80, "\udcff\n\t")):
        folder = write(tmp_path / str(number), inspection(PIT), part, score_map, name)
        for path in folder.iterdir():
            data = pydicom.dcmread(path)
            assert data.PatientName == data.PatientID
            assert str(data.PatientName).startswith(("b/c/x1b[2J$^$xx", "/udcff/n/t"))
            for element in data.iterall():
                if isinstance(element.value, str):
                    assert element.value.isprintable(), element
        assert json.loads(pydicom.dcmread(folder / "slice_0000.dcm").ImageComments)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy (Debian: dicom3tools)")
def test_an_independent_validator_finds_no_error(study, tmp_path, part, score_map) -> None:
    clean = write(tmp_path / "d", inspection(verdict=verdict.CLEAN), part, score_map)
    for folder in (study, clean):
        for path in folder.iterdir():
            done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
            assert "Image" in done.stderr or "Segmentation" in done.stderr or "SR" in done.stderr
            assert [line for line in done.stderr.splitlines() if "Error" in line] == []
