"""The DICOM reader: HU by hand, order, padding, files that are left out, and refused files."""

import os
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    PositronEmissionTomographyImageStorage,
    RawDataStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from tubepet.ct import headers, pixels
from tubepet.ct.dicom import index_slices, read_hu
from tubepet.errors import InputError

AXIAL = [1, 0, 0, 0, 1, 0]
SAGITTAL = [0, 1, 0, 0, 0, -1]


def ct(path: Path, stored: np.ndarray, z_mm: float = 0.0, **fields: object) -> FileDataset:
    """Return one CT slice of signed 16-bit pixels."""
    uid = f"1.2.{zlib.crc32(path.name.encode())}"
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = fields.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = uid
    data = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    settings = {
        "SOPClassUID": CTImageStorage, "SOPInstanceUID": uid, "Modality": "CT",
        "PatientID": "p1", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "Rows": stored.shape[-2],
        "Columns": stored.shape[-1], "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
        "PixelRepresentation": 1, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "RescaleSlope": 1, "RescaleIntercept": -1024, "ImageOrientationPatient": AXIAL,
        "ImagePositionPatient": [0, 0, z_mm], "PixelData": stored.astype("<i2").tobytes(),
    } | fields  # fmt: skip
    for name, value in settings.items():
        if value is not None:
            setattr(data, name, value)
    return data


def write_dicom(path: Path, stored: np.ndarray, z_mm: float = 0.0, **fields: object) -> None:
    """Write one CT slice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ct(path, stored, z_mm, **fields).save_as(path, enforce_file_format=True)


ZERO = np.zeros((4, 4), int)


def test_hu_by_hand(tmp_path):
    stored = np.array([[0, 1024], [-2000, 512]])
    write_dicom(tmp_path / "a.dcm", stored, RescaleSlope=2, PixelPaddingValue=-2000)
    # 2 * 0 - 1024, 2 * 1024 - 1024, padding -> air, 2 * 512 - 1024
    assert read_hu(tmp_path / "a.dcm").tolist() == [[-1024, 1024], [-1000, 0]]


@pytest.mark.parametrize(
    ("padding", "kind", "expected"),
    [
        ({"PixelPaddingRangeLimit": -1990}, "SS", [-1000, -1000, -3004, 40]),
        ({"PixelPaddingValue": 63536}, "US", [-1000, -3014, -3004, 40]),  # -2000, unsigned
        ({"PixelPaddingRangeLimit": None}, "SS", [-1000, -3014, -3004, 40]),
        # 1064 is tissue, 40 HU, as if the file had been converted: not believed
        ({"PixelPaddingValue": 1064}, "SS", [-3024, -3014, -3004, 40]),
        ({"PixelPaddingRangeLimit": 1064}, "SS", [-3024, -3014, -3004, 40]),
    ],
)
def test_padding(tmp_path, padding, kind, expected):
    data = ct(tmp_path / "a.dcm", np.array([[-2000, -1990, -1980, 1064]]))
    for name, value in ({"PixelPaddingValue": -2000} | padding).items():
        data.add_new(name, kind, value)
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert read_hu(tmp_path / "a.dcm").tolist() == [expected]


def test_slices_are_ordered_by_position_within_their_series(tmp_path):
    for name, z_mm, series in (("a", 5, "1.2"), ("b", -5, "1.2"), ("c", 0, "1.1"), ("d", 1, "1.2")):
        write_dicom(tmp_path / f"{name}.dcm", ZERO, z_mm, SeriesInstanceUID=series)
    index, counts = index_slices(tmp_path)
    assert index["source_file"].tolist() == ["c.dcm", "b.dcm", "d.dcm", "a.dcm"]
    assert index["slice"].tolist() == [0, 0, 1, 2]
    assert index["series"].tolist() == ["1.1", "1.2", "1.2", "1.2"]
    assert counts == {"num_files": 4, "left_out": {}}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"SOPClassUID": SecondaryCaptureImageStorage, "ImageOrientationPatient": None},
         "Secondary Capture Image Storage"),  # a dose page
        ({"SOPClassUID": PositronEmissionTomographyImageStorage, "Modality": "PT"},
         "Positron Emission Tomography Image Storage"),
        ({"SOPClassUID": "1.2.3.4"}, "unknown SOP class"),
        ({"Modality": "PT"}, "modality PT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localiser"),
        ({"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"]}, "reformatted view"),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MAXIMUM"]}, "maximum view"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER"], "ImagePositionPatient": None},
         "secondary image without place or HU"),
        ({"ImageOrientationPatient": SAGITTAL}, "not axial"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "not axial"),
        ({"RescaleType": "MGML"}, "unit MGML, not HU"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"PixelData": None}, "no pixels"),
    ],
)  # fmt: skip
def test_what_is_no_axial_slice_in_hu_is_left_out_with_its_reason(tmp_path, fields, reason):
    write_dicom(tmp_path / "IM0001", np.zeros((64, 64), int))  # no suffix
    write_dicom(tmp_path / "other.dcm", np.zeros((64, 64), int), **fields)
    index, counts = index_slices(tmp_path)
    assert index["source_file"].tolist() == ["IM0001"]
    assert counts == {"num_files": 2, "left_out": {reason: 1}}
    with pytest.raises(InputError, match=rf"other\.dcm: got {reason}, expected an axial CT slice"):
        read_hu(tmp_path / "other.dcm")
    (tmp_path / "IM0001").unlink()
    with pytest.raises(InputError, match=rf"no CT slices among 1 .* 1 {reason} \(other\.dcm\)"):
        index_slices(tmp_path)


def test_other_files_are_left_out_with_their_reasons(tmp_path):
    write_dicom(tmp_path / "b/a.dcm", ZERO)
    (tmp_path / "README.txt").write_text("not an image")
    (tmp_path / "old.dcm").write_bytes((tmp_path / "b/a.dcm").read_bytes()[132:])
    (tmp_path / "b/._a.dcm").write_bytes(b"\0\5\x16\7" + b"\0" * 200)
    (tmp_path / "empty.dcm").touch()
    os.mkfifo(tmp_path / "pipe.dcm")  # opened, it would wait for ever
    latin = os.fsencode(tmp_path) + b"/J\xfcrgen.dcm"
    with open(latin, "wb") as file:
        file.write((tmp_path / "b/a.dcm").read_bytes())
    index, counts = index_slices(tmp_path)
    assert index["source_file"].tolist() == ["b/a.dcm"]
    assert counts["left_out"] == {
        "empty file": 1, "macOS resource fork": 1, "name that is not UTF-8": 1,
        "no DICOM preamble": 2, "no regular file": 1,
    }  # fmt: skip


def test_other_modalities_may_be_of_any_size(tmp_path):
    write_dicom(tmp_path / "a.dcm", ZERO)
    write_dicom(tmp_path / "raw.dcm", ZERO, SOPClassUID=RawDataStorage)
    write_dicom(tmp_path / "large.dcm", ZERO)
    for name in ("raw", "large"):
        os.truncate(tmp_path / f"{name}.dcm", headers.MAX_FILE_BYTES + 1)  # without blocks on disk
    with pytest.raises(InputError, match=r"large\.dcm: got 2147483649 bytes, expected a CT of at"):
        index_slices(tmp_path)
    (tmp_path / "large.dcm").unlink()
    assert index_slices(tmp_path)[1]["left_out"] == {"Raw Data Storage": 1}


def test_copies_are_taken_once_and_equal_names_of_different_slices_are_none(tmp_path):
    for i in range(3):
        for place in ("CD", "PACS"):
            write_dicom(tmp_path / f"{place}/{i}.dcm", ZERO, float(i))
    write_dicom(tmp_path / "CD/x.dcm", ZERO, 7.0, SOPInstanceUID=f"1.2.{zlib.crc32(b'0.dcm')}")
    index, counts = index_slices(tmp_path)
    assert index["source_file"].tolist() == ["CD/0.dcm", "CD/1.dcm", "CD/2.dcm", "CD/x.dcm"]
    assert counts["left_out"] == {"copy of another file": 3}


def test_links_out_of_the_folder_are_said_and_not_followed(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    write_dicom(root / "P1/a.dcm", ZERO)
    write_dicom(outside / "b.dcm", ZERO)
    (root / "P1/b.dcm").symlink_to(outside / "b.dcm")
    (root / "P2").symlink_to(outside)
    (root / "P3").symlink_to(root / "P1")  # inside: its slices are found where they are
    (root / "loop").symlink_to(root)
    (root / "nowhere").symlink_to("nowhere")
    (root / "broken").symlink_to("gone")
    index, counts = index_slices(root)
    assert index["source_file"].tolist() == ["P1/a.dcm"]
    assert counts == {
        "num_files": 5, "left_out": {"link that leads out or nowhere": 4},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("patient", "expected"), [("study", ["1.1", "1.9"]), ("folder", ["P1", "P2"])]
)
def test_an_empty_patient_id_needs_another_way_to_tell_patients_apart(tmp_path, patient, expected):
    for name, study in (("P1", "1.1"), ("P2", "1.9")):
        write_dicom(tmp_path / f"{name}/s/{name}.dcm", ZERO, PatientID="", StudyInstanceUID=study)
    with pytest.raises(InputError, match=r"P1\.dcm: got an empty PatientID, .*ct\.patient"):
        index_slices(tmp_path)
    assert index_slices(tmp_path, patient)[0]["patient"].tolist() == expected
    write_dicom(tmp_path / "a.dcm", ZERO)
    with pytest.raises(InputError, match=r"a\.dcm: got no folder below ct\.source_dir"):
        index_slices(tmp_path, "folder")


def test_a_tilted_gantry_is_still_axial(tmp_path):
    cos, sin = np.cos(np.radians(25)), np.sin(np.radians(25))
    write_dicom(tmp_path / "a.dcm", ZERO, ImageOrientationPatient=[1, 0, 0, 0, cos, -sin])
    assert len(index_slices(tmp_path)[0]) == 1


NUMBERS = {
    "ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2, "RescaleSlope": 1,
    "RescaleIntercept": 1,
}  # fmt: skip


@pytest.mark.parametrize("bad", ["nan", "inf", "1e9999", "abc"])
@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.filterwarnings("ignore")  # pydicom's, about what is written
def test_what_is_no_finite_number_is_refused_in_every_field(tmp_path, name, bad):
    text = "\\".join([bad, *["1"] * (NUMBERS[name] - 1)])
    data = ct(tmp_path / "bad.dcm", ZERO, **{name: None})
    data.add_new(name, "LO", text)  # DS takes no letters
    data.save_as(tmp_path / "bad.dcm", enforce_file_format=True)
    with pytest.raises(
        InputError, match=rf"bad\.dcm: {name} got .*expected {NUMBERS[name]} finite"
    ):
        index_slices(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"RescaleSlope": None}, "DICOM fields RescaleSlope are missing"),
        ({"ImageOrientationPatient": None}, "ImageOrientationPatient are missing"),
        ({"Rows": 4096}, "got 4096 x 4 pixels, expected at most 2048 x 2048"),
        ({"Rows": 0}, "got 0 x 4 pixels"),
        ({"Columns": None}, "Columns got '', expected 1 finite number"),
        ({"BitsAllocated": 12}, "BitsAllocated got 12, expected 8, 16 or 32"),
        ({"ImageOrientationPatient": [0] * 6}, "expected two directions of length 1"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "expected two directions of length 1"),
        ({"ImageOrientationPatient": [1, 0, 0]}, "expected 6 finite numbers"),
        ({"ImagePositionPatient": [0, 0, 2e5]}, "expected at most 100000 mm"),
        ({"RescaleSlope": 0}, "RescaleSlope got 0, expected more than 0"),
        ({"PixelSpacing": [0, 0]}, "PixelSpacing got .* expected two lengths above 0 mm"),
        ({"PixelSpacing": [1, 100]}, "at most 8 times apart"),
    ],
)
def test_a_bad_slice_is_named(tmp_path, fields, message):
    write_dicom(tmp_path / "bad.dcm", ZERO, **fields)
    with pytest.raises(InputError, match=rf"bad\.dcm: .*{message}"):
        index_slices(tmp_path)


def test_pixels_become_square(tmp_path):
    stored = np.array([[1024, 1025, 1026, 1027], [1034, 1035, 1036, 1037]])
    write_dicom(tmp_path / "a.dcm", stored, PixelSpacing=[2, 1])  # twice as high as wide
    assert read_hu(tmp_path / "a.dcm").tolist() == [[0, 1, 2, 3]] * 2 + [[10, 11, 12, 13]] * 2
    write_dicom(tmp_path / "a.dcm", stored, PixelSpacing=[1, 2])
    assert read_hu(tmp_path / "a.dcm")[1].tolist() == [10, 10, 11, 11, 12, 12, 13, 13]


def enhanced(path: Path, stored: np.ndarray, z_mm: list[float], **fields: object) -> None:
    """Write an enhanced CT; slope and orientation are shared, intercepts are the frames'."""
    own = {name: None for name in NUMBERS} | {"SOPClassUID": EnhancedCTImageStorage}
    data = ct(path, stored, NumberOfFrames=len(z_mm), **own | fields)

    def group(**sequences: dict[str, object]) -> Dataset:
        item = Dataset()
        for sequence, values in sequences.items():
            inner = Dataset()
            for name, value in values.items():
                setattr(inner, name, value)
            setattr(item, sequence, [inner])
        return item

    data.SharedFunctionalGroupsSequence = [
        group(
            PlaneOrientationSequence={"ImageOrientationPatient": AXIAL},
            PixelMeasuresSequence={"PixelSpacing": [1, 1]},
        )
    ]
    data.PerFrameFunctionalGroupsSequence = [
        group(
            PlanePositionSequence={"ImagePositionPatient": [0, 0, z]},
            PixelValueTransformationSequence={
                "RescaleSlope": 1, "RescaleIntercept": -1000 - i, "RescaleType": "HU",
            },
        )
        for i, z in enumerate(z_mm)
    ]  # fmt: skip
    data.save_as(path, enforce_file_format=True)


def test_frames_of_an_enhanced_ct_are_slices(tmp_path):
    stored = np.arange(3)[:, None, None] * 100 + np.arange(16).reshape(4, 4)
    enhanced(tmp_path / "a.dcm", stored, [5.0, -5.0, 0.0])
    index, counts = index_slices(tmp_path)
    assert index["frame"].tolist() == [1, 2, 0] and index["slice"].tolist() == [0, 1, 2]
    assert counts == {"num_files": 1, "left_out": {}}
    for frame in range(3):  # slope 1, intercept -1000 - frame
        hu = read_hu(tmp_path / "a.dcm", frame)
        assert hu.tolist() == (stored[frame] - 1000 - frame).tolist()
    with pytest.raises(InputError, match=r"a\.dcm: got no axial frame 4"):
        read_hu(tmp_path / "a.dcm", 3)


@pytest.mark.parametrize("num", [2, 4, 10**9])
def test_frames_must_be_described(tmp_path, num):
    enhanced(tmp_path / "a.dcm", np.zeros((3, 4, 4)), [0.0, 1.0, 2.0])
    data = pydicom.dcmread(tmp_path / "a.dcm")
    data.NumberOfFrames = num
    data.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=r"a\.dcm: got NumberOfFrames .* and 3 descriptions"):
        index_slices(tmp_path)


def test_headers_are_bounded_and_pixels_behind_them_are_not(tmp_path, monkeypatch):
    enhanced(tmp_path / "a.dcm", np.zeros((3, 64, 64)), [0.0, 1.0, 2.0])  # 24 KB of pixels
    length = (tmp_path / "a.dcm").stat().st_size - 3 * 64 * 64 * 2
    monkeypatch.setattr(headers, "FIRST_BYTES", 512)
    for most, is_enough in ((length + 100, True), (length - 100, False)):
        monkeypatch.setattr(headers, "MAX_HEADER_BYTES", most)
        if is_enough:
            assert len(index_slices(tmp_path)[0]) == 3
        else:
            with pytest.raises(InputError, match=rf"a\.dcm: expected a header of at most {most}"):
                index_slices(tmp_path)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_every_plain_syntax_gives_the_same(tmp_path, syntax):
    stored = np.arange(-8, 8).reshape(4, 4)
    data = ct(tmp_path / "a.dcm", stored, PatientID="Буц", SpecificCharacterSet="ISO_IR 144")
    if syntax == RLELossless:
        data.compress(RLELossless)
    elif syntax == ExplicitVRBigEndian:
        data.PixelData = stored.astype(">i2").tobytes()
    data.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(
        tmp_path / "a.dcm", data, implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=syntax != ExplicitVRBigEndian, enforce_file_format=True,
    )  # fmt: skip
    index, _ = index_slices(tmp_path)
    assert index["patient"].tolist() == ["Буц"]
    assert read_hu(tmp_path / "a.dcm").tolist() == (stored - 1024).tolist()


def test_a_deflated_slice_is_refused_and_not_unpacked(tmp_path):
    data = ct(tmp_path / "a.dcm", ZERO)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"a\.dcm: got a deflated DICOM file"):
        index_slices(tmp_path)


def coded(path: Path, stored: np.ndarray, compressor: str) -> FileDataset:
    """Return a slice whose pixels ITK has coded without loss."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    writer.SetFileName(str(path))
    writer.Execute(sitk.GetImageFromArray(stored.astype("<i2")))
    made = pydicom.dcmread(path)
    data = ct(path, stored, PixelData=made.PixelData)
    data.file_meta.TransferSyntaxUID = made.file_meta.TransferSyntaxUID
    data["PixelData"].is_undefined_length = True
    return data


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_coded_pixels_are_those_that_were_coded(tmp_path, compressor):
    stored = np.random.default_rng(0).integers(-1000, 3000, (64, 48))
    data = coded(tmp_path / "a.dcm", stored, compressor)
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert "JPEG" in data.file_meta.TransferSyntaxUID.name
    assert len(index_slices(tmp_path)[0]) == 1
    np.testing.assert_array_equal(read_hu(tmp_path / "a.dcm"), stored - 1024)
    data.Rows = 63  # the stream says 64
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(
        InputError, match=r"got coded pixels of shape \(64, 48\), expected .*\(63, 48\)"
    ):
        read_hu(tmp_path / "a.dcm")


def test_jpeg_ls_of_the_standard(tmp_path):
    """ITU-T T.87, annex H.3: an image of 4 x 4 and its code."""
    code = (
        "FFD8FFF7000B080004000401011100FFDA0008010100000000C000006C80208E01C000005740"
        "00006EE6000001BC18000005D800009160FFD9"
    )
    image = [[0, 0, 90, 74], [68, 50, 43, 205], [64, 145, 145, 145], [100, 145, 145, 145]]
    data = ct(tmp_path / "a.dcm", ZERO, BitsAllocated=8, BitsStored=8, HighBit=7,
              PixelRepresentation=0, PixelData=encapsulate([bytes.fromhex(code)]))  # fmt: skip
    data.file_meta.TransferSyntaxUID = JPEGLSLossless
    data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert read_hu(tmp_path / "a.dcm").tolist() == (np.array(image) - 1024).tolist()


def test_a_syntax_that_nothing_decodes_is_named_before_the_run(tmp_path):
    data = ct(tmp_path / "a.dcm", ZERO, PixelData=encapsulate([b"1234"]))
    data.file_meta.TransferSyntaxUID = HTJ2KLossless
    data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match=r"a\.dcm: got transfer syntax High-Throughput JPEG 2000"):
        index_slices(tmp_path)


def test_pixels_that_end_the_decoder_are_named_and_the_next_are_read(tmp_path, monkeypatch):
    stored = np.arange(48).reshape(8, 6)
    coded(tmp_path / "a.dcm", stored, "JPEG").save_as(tmp_path / "a.dcm", enforce_file_format=True)

    start = pixels._decoder.__wrapped__
    programs = ["import os, sys; sys.stdin.readline(); os.abort()"]

    @cache
    def dying_once() -> subprocess.Popen[str]:
        if not programs:
            return start()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen([sys.executable, "-c", programs.pop()], text=True, **pipes)

    with monkeypatch.context() as patch:
        patch.setattr(pixels, "_decoder", dying_once)
        with pytest.raises(InputError, match=r"a\.dcm: .*a damaged file \(the decoder ended at it"):
            read_hu(tmp_path / "a.dcm")
        np.testing.assert_array_equal(read_hu(tmp_path / "a.dcm"), stored - 1024)
        pixels._end(dying_once())


def test_cut_files_are_refused(tmp_path):
    write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), int))
    whole = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(whole[:-4000])
    for read in (lambda: index_slices(tmp_path), lambda: read_hu(tmp_path / "a.dcm")):
        with pytest.raises(InputError, match=r"a\.dcm: expected whole pixels, got a damaged file"):
            read()
    (tmp_path / "a.dcm").write_bytes(whole[:132] + b"not DICOM at all" * 20)
    with pytest.raises(InputError, match=r"a\.dcm: expected a DICOM file"):
        index_slices(tmp_path)


def test_a_folder_without_ct_is_refused(tmp_path):
    with pytest.raises(InputError, match="got no CT slices"):
        index_slices(tmp_path)


def test_names_are_shown_without_what_steers_a_terminal(tmp_path):
    write_dicom(tmp_path / "a\x1b[2J\n.dcm", ZERO, Rows=0)
    with pytest.raises(InputError) as caught:
        index_slices(tmp_path)
    assert str(caught.value).isprintable() and "a\\x1b[2J\\n.dcm" in str(caught.value)
