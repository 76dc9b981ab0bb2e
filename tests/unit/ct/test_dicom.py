"""The DICOM reader: HU by hand, order, padding, grouping, and refusals."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tubepet.ct.dicom import index_slices, read_hu, slice_normal
from tubepet.errors import InputError

AXIAL = [1, 0, 0, 0, 1, 0]
SAGITTAL = [0, 1, 0, 0, 0, -1]


def write_dicom(path: Path, stored: np.ndarray, z_mm: float = 0.0, **fields: object) -> None:
    """Write one CT slice of signed 16-bit pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    settings = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": "1.2.3", "Modality": "CT",
        "PatientID": "p1", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "Rows": stored.shape[0],
        "Columns": stored.shape[1], "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
        "PixelRepresentation": 1, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "RescaleSlope": 1, "RescaleIntercept": -1024, "ImageOrientationPatient": AXIAL,
        "ImagePositionPatient": [0, 0, z_mm], "PixelData": stored.astype("<i2").tobytes(),
    } | fields  # fmt: skip
    for name, value in settings.items():
        if value is not None:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)


ZERO = np.zeros((4, 4), int)


def test_hu_by_hand(tmp_path):
    stored = np.array([[0, 1024], [-2000, 512]])
    write_dicom(tmp_path / "a.dcm", stored, RescaleSlope=2, PixelPaddingValue=-2000)
    # 2 * 0 - 1024, 2 * 1024 - 1024, padding -> air, 2 * 512 - 1024
    assert read_hu(tmp_path / "a.dcm").tolist() == [[-1024, 1024], [-1000, 0]]


def test_padding_may_be_a_range(tmp_path):
    stored = np.array([[-2000, -1990, -1980, 24]])
    write_dicom(tmp_path / "a.dcm", stored, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990)
    assert read_hu(tmp_path / "a.dcm").tolist() == [[-1000, -1000, -3004, -1000]]


def test_slices_are_ordered_by_position_within_their_series(tmp_path):
    for name, z_mm, series in (("a", 5, "1.2"), ("b", -5, "1.2"), ("c", 0, "1.1"), ("d", 1, "1.2")):
        write_dicom(tmp_path / f"{name}.dcm", ZERO, z_mm, SeriesInstanceUID=series)
    index, counts = index_slices(tmp_path)
    assert index["source_file"].tolist() == ["c.dcm", "b.dcm", "d.dcm", "a.dcm"]
    assert index["slice"].tolist() == [0, 0, 1, 2]
    assert index["series"].tolist() == ["1.1", "1.2", "1.2", "1.2"]
    assert counts == {"num_files": 4, "num_other_files": 0}


def test_what_comes_with_every_export_is_left_out(tmp_path):
    write_dicom(tmp_path / "IM0001", ZERO)  # no suffix, in a subfolder's stead
    write_dicom(tmp_path / "scout.dcm", ZERO, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
                ImageOrientationPatient=SAGITTAL)  # fmt: skip
    write_dicom(tmp_path / "pet.dcm", ZERO, Modality="PT")
    (tmp_path / "README.txt").write_text("not an image")
    index, counts = index_slices(tmp_path)
    assert index["source_file"].tolist() == ["IM0001"]
    assert counts == {"num_files": 4, "num_other_files": 3}


def test_normal_of_an_axial_slice_is_z():
    assert slice_normal(AXIAL).tolist() == [0, 0, 1]


def test_a_tilted_gantry_is_still_axial(tmp_path):
    cos, sin = np.cos(np.radians(25)), np.sin(np.radians(25))
    write_dicom(tmp_path / "a.dcm", ZERO, ImageOrientationPatient=[1, 0, 0, 0, cos, -sin])
    assert len(index_slices(tmp_path)[0]) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ImageOrientationPatient": SAGITTAL}, "tilted by 90 degrees from axial"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "tilted by 90 degrees from axial"),
        ({"RescaleSlope": None}, "DICOM fields RescaleSlope are missing"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient are missing"),
        ({"Rows": 4096}, "got 4096 x 4 pixels, expected at most 2048 x 2048"),
    ],
)
def test_a_bad_slice_is_named(tmp_path, fields, message):
    write_dicom(tmp_path / "bad.dcm", ZERO, **fields)
    with pytest.raises(InputError, match=rf"bad\.dcm: .*{message}"):
        index_slices(tmp_path)


def test_cut_files_are_refused(tmp_path):
    write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), int))
    whole = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(whole[:-4000])
    index_slices(tmp_path)  # the header is whole
    with pytest.raises(InputError, match=r"a\.dcm: expected whole, uncompressed pixels"):
        read_hu(tmp_path / "a.dcm")
    (tmp_path / "a.dcm").write_bytes(b"not DICOM at all" * 20)
    with pytest.raises(InputError, match=r"a\.dcm: expected a DICOM file"):
        index_slices(tmp_path)


def test_a_folder_without_ct_is_refused(tmp_path):
    with pytest.raises(InputError, match="got no CT slices"):
        index_slices(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "a.dcm"
    write_dicom(outside, ZERO)
    (tmp_path / "a.dcm").symlink_to(outside)
    with pytest.raises(InputError, match="leads out of"):
        index_slices(tmp_path)
