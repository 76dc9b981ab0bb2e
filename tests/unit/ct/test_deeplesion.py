"""The DeepLesion reader: HU by hand, the index, and one sentence for each kind of bad input."""

import os
import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.unit.ct.conftest import row, write_png, write_rows

from tubepet.ct.deeplesion import SliceName, index_slices, parse_file_name, read_hu
from tubepet.errors import InputError


def test_hu_is_pixel_minus_32768_and_does_not_wrap(tmp_path):
    stored = np.array([[0, 31744, 32768, 32808, 65535]], np.uint16)
    Image.fromarray(stored).save(tmp_path / "a.png")
    hu = read_hu(tmp_path / "a.png")
    assert hu.dtype == np.int32
    # air is 31744 = 32768 - 1024; unsigned arithmetic would have made 0 - 32768 a positive number
    assert hu.tolist() == [[-32768, -1024, 0, 40, 32767]]


def test_index_keeps_neighbours_that_exist(deeplesion_dir):
    index, counts = index_slices(deeplesion_dir, drop_noisy=True)
    assert index["source_file"].tolist() == [
        "Images_png/000001_01_01/001.png",
        "Images_png/000001_01_01/002.png",
        "Images_png/000002_01_01/001.png",
        "Images_png/000002_01_01/002.png",
        "Images_png/000002_01_01/003.png",
    ]
    assert index["split"].tolist() == ["train"] * 2 + ["val"] * 3
    assert index["patient"].tolist() == ["000001"] * 2 + ["000002"] * 3
    assert counts == {
        "num_rows": 2, "num_noisy_rows_dropped": 0, "num_rows_without_image": 0,
        "num_missing_neighbours": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("drop_noisy", "num_slices"), [(True, 2), (False, 5)])
def test_noisy_rows_are_dropped_on_request(deeplesion_dir, drop_noisy, num_slices):
    rows = [row("000001_01_01_002.png"), row("000002_01_01_001.png", Possibly_noisy=1)]
    write_rows(deeplesion_dir, rows)
    index, counts = index_slices(deeplesion_dir, drop_noisy)
    assert len(index) == num_slices and counts["num_noisy_rows_dropped"] == int(drop_noisy)


def test_rows_of_one_series_share_their_slices(deeplesion_dir):
    rows = [row("000002_01_01_001.png", Slice_range="1, 2"), row("000002_01_01_003.png")]
    write_rows(deeplesion_dir, rows)
    assert index_slices(deeplesion_dir, True)[0]["slice"].tolist() == [1, 2, 3]


def test_split_is_empty_without_the_official_one(deeplesion_dir):
    write_rows(deeplesion_dir, [row("000001_01_01_002.png", Train_Val_Test="")])
    assert set(index_slices(deeplesion_dir, True)[0]["split"]) == {""}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"File_name": "000001_01_01_003.png"}, "row 2: key slice .*001_01_01/003.png does not"),
        ({"File_name": "000009_01_01_001.png"}, "row 2: key slice .*009_01_01/001.png does not"),
        ({"File_name": "../../etc/x_01.png"}, "row 2: File_name got '../../etc/x_01.png'"),
        ({"File_name": "/etc/passwd_01.png"}, "row 2: File_name got '/etc/passwd_01.png'"),
        ({"File_name": "000001_01_../../x.png"}, "row 2: File_name got"),
        ({"File_name": "٠٠٠٠٠١_01_01_002.png"}, "row 2: File_name got"),  # Arabic digits
        ({"File_name": ""}, "row 2: File_name got ''"),
        ({"Slice_range": "3, 9"}, "row 2: Slice_range got '3, 9', expected .* key slice 2"),
        ({"Slice_range": "all"}, "row 2: Slice_range got 'all'"),
        ({"Possibly_noisy": "maybe"}, "row 2: Possibly_noisy got 'maybe', expected 0 or 1"),
        ({"Train_Val_Test": 4}, "row 2: Train_Val_Test got '4', expected 1, 2 or 3"),
    ],
)
def test_a_bad_row_is_named(deeplesion_dir, fields, message):
    write_rows(deeplesion_dir, [row("000001_01_01_002.png") | fields])
    with pytest.raises(InputError, match=f"DL_info.csv {message}"):
        index_slices(deeplesion_dir, True)


def test_a_patient_in_two_splits_is_refused(deeplesion_dir):
    rows = [row("000002_01_01_001.png"), row("000002_01_01_002.png", Train_Val_Test=3)]
    write_rows(deeplesion_dir, rows)
    with pytest.raises(InputError, match="row 3: patient 000002 is in test and in train"):
        index_slices(deeplesion_dir, True)


def test_missing_parts_of_the_folder_are_named(tmp_path):
    with pytest.raises(InputError, match="Images_png: got no images"):
        index_slices(tmp_path, True)
    (tmp_path / "Images_png").mkdir()
    with pytest.raises(InputError, match="Images_png: got no images"):
        index_slices(tmp_path, True)
    write_png(tmp_path / "Images_png/000001_01_01/001.png", np.zeros((2, 2), int))
    with pytest.raises(InputError, match=r"DL_info\.csv: no such file"):
        index_slices(tmp_path, True)
    (tmp_path / "DL_info.csv").write_text("File_name,Nothing\n")
    with pytest.raises(InputError, match="columns Possibly_noisy, Slice_range are missing"):
        index_slices(tmp_path, True)
    (tmp_path / "DL_info.csv").write_text("File_name,Possibly_noisy,Slice_range\n")
    with pytest.raises(InputError, match="got no rows"):
        index_slices(tmp_path, True)
    (tmp_path / "DL_info.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InputError, match="expected a table with a header"):
        index_slices(tmp_path, True)


def test_a_partial_download_is_taken_on_request(deeplesion_dir):
    rows = [row("000001_01_01_002.png"), row("000009_01_01_001.png", Train_Val_Test=2)]
    write_rows(deeplesion_dir, rows)
    with pytest.raises(InputError, match=r"row 3: key slice .*\(ct\.allow_partial leaves out"):
        index_slices(deeplesion_dir, True)
    index, counts = index_slices(deeplesion_dir, True, allow_partial=True)
    assert set(index["patient"]) == {"000001"} and counts["num_rows_without_image"] == 1


def test_whole_numbers_may_be_resaved_as_others(deeplesion_dir):
    before = index_slices(deeplesion_dir, True)[0]
    rows = [
        row("000001_01_01_002.png", Possibly_noisy="0.0", Train_Val_Test="1.0"),
        row("000002_01_01_001.png", Possibly_noisy="0.0", Train_Val_Test="2.0"),
    ]
    write_rows(deeplesion_dir, rows)
    assert index_slices(deeplesion_dir, True)[0].equals(before)


def test_the_folder_of_the_series_may_have_another_name(deeplesion_dir):
    before = index_slices(deeplesion_dir, True)[0]["source_file"]
    (deeplesion_dir / "Images_png").rename(deeplesion_dir / "minideeplesion")
    found = index_slices(deeplesion_dir, True)[0]["source_file"]
    assert found.tolist() == [f.replace("Images_png", "minideeplesion") for f in before]
    shutil.copytree(deeplesion_dir / "minideeplesion", deeplesion_dir / "second")
    with pytest.raises(InputError, match=r"in which of minideeplesion, second\?"):
        index_slices(deeplesion_dir, True)


def test_a_slice_that_links_out_of_the_folder_or_is_no_file_is_refused(deeplesion_dir, tmp_path):
    path = deeplesion_dir / "Images_png/000001_01_01/002.png"
    path.unlink()
    os.mkfifo(path)  # opened, it would wait for ever
    with pytest.raises(InputError, match=r"key slice .*002\.png does not exist"):
        index_slices(deeplesion_dir, True)
    with pytest.raises(InputError, match=r"002\.png: expected a regular file"):
        read_hu(path)
    path.unlink()
    for target in ("/etc/passwd", "gone", "002.png"):
        path.symlink_to(target)
        with pytest.raises(InputError, match=r"002\.png: leads out of"):
            index_slices(deeplesion_dir, True)
        path.unlink()


@pytest.mark.parametrize("name", ["DL_info.csv", "Images_png"])
def test_table_and_folder_are_no_links_to_elsewhere(deeplesion_dir, tmp_path_factory, name):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / name
    shutil.move(deeplesion_dir / name, elsewhere)
    (deeplesion_dir / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match=rf"{name}: leads out of"):
        index_slices(deeplesion_dir, True)


def test_a_table_of_any_size_is_not_read(deeplesion_dir):
    os.truncate(deeplesion_dir / "DL_info.csv", 2**28 + 1)
    with pytest.raises(InputError, match=r"DL_info\.csv: got 268435457 bytes, expected at most"):
        index_slices(deeplesion_dir, True)


def test_a_series_that_links_out_of_the_folder_is_refused(deeplesion_dir, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    write_png(outside / "001.png", np.zeros((2, 2), int))
    (deeplesion_dir / "Images_png/000007_01_01").symlink_to(outside)
    write_rows(deeplesion_dir, [row("000007_01_01_001.png")])
    with pytest.raises(InputError, match="leads out of"):
        index_slices(deeplesion_dir, True)


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.95])
def test_a_truncated_png_is_refused(tmp_path, keep):
    path = tmp_path / "cut.png"
    write_png(path, np.random.default_rng(0).integers(-1000, 1000, (64, 64)))
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(InputError, match=r"cut\.png: expected a whole PNG, got a damaged file"):
        read_hu(path)


@pytest.mark.parametrize("mode", ["L", "RGB", "1", "P"])
def test_a_png_without_16_bits_is_refused(tmp_path, mode):
    Image.new(mode, (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=f"mode '{mode}' .* expected 16-bit grey"):
        read_hu(tmp_path / "a.png")


@pytest.mark.parametrize("side", [2049, 12000, 20000])  # Pillow warns at 9460, refuses at 13378
def test_a_huge_png_is_refused_before_decoding(tmp_path, side):
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    # the file ends after a few bytes of pixels: only its header can have been looked at
    png += struct.pack(">I", zlib.crc32(header)) + struct.pack(">I", 9) + b"IDAT\0\0\0\0\0"
    (tmp_path / "a.png").write_bytes(png)
    with pytest.raises(InputError, match="expected at most 2048 x 2048"):
        read_hu(tmp_path / "a.png")


def test_another_format_called_png_is_refused(tmp_path):
    Image.new("I;16", (8, 8)).save(tmp_path / "a.png", format="TIFF")
    with pytest.raises(InputError, match="expected a whole PNG"):
        read_hu(tmp_path / "a.png")


numbers = st.builds(
    SliceName, st.integers(0, 999999), st.integers(0, 99), st.integers(0, 99), st.integers(0, 9999)
)


@given(numbers)
def test_file_name_and_path_say_the_same(name):
    text = f"{name.folder}_{name.slice:03d}.png"
    assert parse_file_name(text, "row") == name
    head, tail = text.rsplit("_", 1)  # DeepLesion's rule: the last underscore is a folder
    assert name.path == f"{head}/{tail}"


@given(st.text(max_size=30))
def test_no_text_leaves_the_folder(text):
    try:
        path = parse_file_name(text, "row").path
    except InputError:
        return
    assert re.fullmatch(r"Images_png/[0-9_]+/[0-9]+\.png", path)
    assert ".." not in Path(path).parts
