import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from click.testing import CliRunner

from tubepet import io
from tubepet.cli import main
from tubepet.errors import InputError
from tubepet.formats import dicom_pet
from tubepet.types import Grid, Volume

GRID = Grid((3, 4, 5), (2.0, 0.5, 0.7), (-2.0, 3.25, -1.4))
TUBE = dicom_pet.Component("tube", "simulated", "aluminium", "no defect", 22.5, 2.5, True)
GENERATED = replace(TUBE, name="g", derivation="By model surrogate, seed 3; not a measurement.")
# Synthetic Data (0008,001C) entered the standard in 2023, after Debian's dciodvfy (2022).
NEWER_THAN_VALIDATOR = "not a recognized standard attribute - (0x0008,0x001c)"


@pytest.fixture
def image() -> Volume:
    array = np.random.default_rng(1).random(GRID.shape) * np.array([1e-3, 600, 0])[:, None, None]
    return Volume(array, GRID, "Bq/mm3")


@pytest.fixture(params=[TUBE, GENERATED], ids=["reconstructed", "generated"])
def files(request, tmp_path, image) -> list[Path]:
    """Write one component both ways."""
    dicom_pet.write_series(tmp_path / "s", image, request.param, {"num_iterations": 3})
    dicom_pet.write_multiframe(tmp_path / "m.dcm", image, request.param, {"num_iterations": 3})
    return [*sorted((tmp_path / "s").iterdir()), tmp_path / "m.dcm"]


@pytest.mark.parametrize(
    ("settings", "method", "corrected"),
    [
        ({"note": "Bq/mm3; cross sections: x; attenuation: nominal"}, "drawing without", None),
        ({"note": "Bq/mm3; cross sections: x; attenuation: truth"}, "defects included", None),
        ({"num_iterations": 3, "mu": "ct.nii.gz"}, "ct.nii.gz", ["NORM", "ATTN", "SCAT", "RAN"]),
        ({"num_iterations": 3, "mu": None}, None, ["NORM", "SCAT", "RAN"]),
        ({"note": "Bq/mm3"}, None, None),
    ],
)
def test_it_says_which_attenuation_map_was_used(tmp_path, image, settings, method, corrected):
    dicom_pet.write_series(tmp_path / "s", image, TUBE, settings)
    data = pydicom.dcmread(tmp_path / "s" / "slice_0000.dcm")
    said = data.get("AttenuationCorrectionMethod")
    assert said is None if method is None else method in said
    assert (list(data.CorrectedImage) if data.CorrectedImage else None) == corrected


def test_slices_come_back(files, image) -> None:
    paths, array = files[:3], image.array
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(list(map(str, paths)))
    whole = reader.Execute()
    np.testing.assert_allclose(whole.GetSpacing(), GRID.voxel_mm[::-1])
    np.testing.assert_allclose(whole.GetOrigin(), GRID.origin_mm[::-1])
    for index, path in enumerate(paths):
        data = pydicom.dcmread(path)
        assert (data.Units, data.file_meta.MediaStorageSOPClassUID.name) == (
            "BQML", "Positron Emission Tomography Image Storage",
        )  # fmt: skip
        assert json.loads(data.ImageComments) == {"num_iterations": 3}
        slope = float(data.RescaleSlope)
        single = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
        for values in (data.pixel_array * slope, single):
            # half a step of 16 bits; ITK gives float64 or float32
            bound = 0.51 * slope + 1e-6 * array[index].max() * 1000
            np.testing.assert_allclose(values, array[index] * 1000, rtol=0, atol=bound)


def test_frames_come_back(files, image) -> None:
    data = pydicom.dcmread(files[3])
    assert data.NumberOfFrames == 3
    shared = data.SharedFunctionalGroupsSequence[0]
    spacing = shared.PixelMeasuresSequence[0]
    assert [*spacing.PixelSpacing, spacing.SliceThickness] == [0.5, 0.7, 2.0]
    for index, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        slope = float(group.PixelValueTransformationSequence[0].RescaleSlope)
        meaning = group.RealWorldValueMappingSequence[0]
        assert meaning.RealWorldValueSlope == slope
        assert meaning.MeasurementUnitsCodeSequence[0].CodeValue == "Bq/ml"
        position = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(position, [-1.4, 3.25, -2 + 2 * index])
        # half a step of 16 bits
        np.testing.assert_allclose(
            data.pixel_array[index] * slope, image.array[index] * 1000, rtol=0, atol=0.51 * slope
        )


def test_component_and_origin_are_named(files) -> None:
    for path in files:
        data = pydicom.dcmread(path)
        assert data.PatientName == data.PatientID
        assert (data.StudyDescription, data.SyntheticData) == ("simulated", "YES")
        assert data.MaterialPropertiesDescription == "aluminium"
        assert (data.OuterDiameter, data.MaterialThickness) == (22.5, 2.5)
        is_generated = data.PatientID == "g"
        assert data.ImageType[0] == ("DERIVED" if is_generated else "ORIGINAL")
        assert (
            "seed 3; not a measurement" in data.get("DerivationDescription", "")
        ) == is_generated
        assert ("not a measurement" in data.SeriesDescription) == is_generated


def test_the_same_image_has_the_same_identifiers(tmp_path, image) -> None:
    uids = set()
    for name, component in (("a", TUBE), ("b", TUBE), ("c", GENERATED)):
        dicom_pet.write_series(tmp_path / name, image, component, {})
        for path in sorted((tmp_path / name).iterdir()):
            uids.add(pydicom.dcmread(path).SOPInstanceUID)
    assert len(uids) == 6


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="no dciodvfy (Debian: dicom3tools)")
def test_an_independent_validator_finds_no_error(files) -> None:
    for path in files:
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        lines = done.stderr.splitlines()
        assert any("PETImage" in line for line in lines), lines
        errors = [line for line in lines if "Error" in line]
        assert [line for line in errors if NEWER_THAN_VALIDATOR not in line] == []


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="no dcmdump (Debian: dcmtk)")
def test_dcmtk_reads_them(files) -> None:
    for path in files:
        done = subprocess.run(["dcmdump", path], capture_output=True, text=True, check=True)
        assert not done.stderr, done.stderr
        assert "MaterialPropertiesDescription" in done.stdout and "[PT]" in done.stdout
    shown = path.with_suffix(".png")
    # an independent renderer: the second frame, the only one with activity, is the brightest
    for frame in (2, 3):
        render = ["dcm2pnm", "--write-png", "--frame", str(frame), "--set-window", "0", "65535"]
        if subprocess.run([*render, path, shown], check=False).returncode != 0:
            pytest.fail(f"dcm2pnm cannot draw frame {frame}")
        brightest = sitk.GetArrayFromImage(sitk.ReadImage(str(shown))).max()
        assert (brightest > 200) == (frame == 2)


def test_bad_images_and_old_folders_are_refused(tmp_path, image) -> None:
    for value in (np.nan, -1.0):
        bad = Volume(np.full(GRID.shape, value), GRID)
        with pytest.raises(InputError, match="non-finite values"):
            dicom_pet.write_series(tmp_path / "s", bad, TUBE, {})
        with pytest.raises(InputError, match="non-finite values"):
            dicom_pet.write_multiframe(tmp_path / "m.dcm", bad, TUBE, {})
    with pytest.raises(InputError, match="exists already"):
        dicom_pet.write_series(tmp_path, image, TUBE, {})
    assert list(tmp_path.iterdir()) == []


TRUTH = {
    "tube": "tube_0007", "family": "bent", "geometry": {"wall_mm": 2.5},
    "defects": [{"class": "pit", "size_mm": 2.0, "z_mm": 1.0}],
}  # fmt: skip


def test_the_command_writes_both_kinds(tmp_path, image) -> None:
    io.write_volume(tmp_path / "i.nii.gz", replace(image, array=image.array.astype(np.float32)))
    io.write_json(tmp_path / "t.json", TRUTH)
    for output, num_files in (("folder", 3), ("one.dcm", 1)):
        args = [str(tmp_path / "i.nii.gz"), "-o", str(tmp_path / output)]
        done = CliRunner().invoke(main, ["dicom", *args, "--truth", str(tmp_path / "t.json")])
        assert done.exit_code == 0, done.output
        paths = sorted((tmp_path / output).iterdir()) if num_files > 1 else [tmp_path / output]
        assert len(paths) == num_files
        data = pydicom.dcmread(paths[0])
        assert (data.PatientID, data.MaterialThickness) == ("tube_0007", 2.5)
        assert data.MaterialNotes == "Family bent. True defects: pit 2.00 mm at z 1.00 mm."
        again = CliRunner().invoke(main, ["dicom", *args])
        assert again.exit_code == 2 and "expected a new NAME.dcm or a new folder" in again.stderr


def test_the_command_refuses_an_unknown_unit_and_a_folder_it_may_not_write(tmp_path, image) -> None:
    bad, good = tmp_path / "bad.nii.gz", tmp_path / "good.nii.gz"
    io.write_volume(bad, Volume(image.array, GRID, "counts-scaled"))
    io.write_volume(good, image)
    done = CliRunner().invoke(main, ["dicom", str(bad), "-o", str(tmp_path / "x.dcm")])
    assert (done.exit_code, done.stderr.strip()) == (
        2, f"error: {bad}: got unit 'counts-scaled', expected Bq/mm3",
    )  # fmt: skip
    done = CliRunner().invoke(main, ["dicom", str(good), "-o", "/proc/none/x.dcm"])
    assert done.exit_code == 3 and done.stderr.startswith("error: /proc/none"), done.output
