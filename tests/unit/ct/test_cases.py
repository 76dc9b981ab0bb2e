"""Realistic folders of CT, made by scripts outside of the repository, if these exist."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from tubepet.ct.prepare import choose, prepare
from tubepet.errors import InputError

SPLIT = {"train": 0.5, "val": 0.25, "test": 0.25}
LEFT_OUT = {
    "Jürgen's CT (1)": {}, "control": {}, "elsewhere": {}, "enhanced": {}, "rectangular": {},
    "padding_is_water": {}, "padding_wrong_vr": {}, "empty_padding_limit": {},
    "appledouble": {"macOS resource fork": 1}, "big_other_modality": {"Raw Data Storage": 1},
    "copies": {"copy of another file": 9}, "coronal_mpr": {"reformatted view": 1},
    "dose_page": {"Secondary Capture Image Storage": 1}, "empty_file": {"empty file": 1},
    "iodine_map": {"unit MGML, not HU": 1}, "mip_slab": {"maximum view": 1},
    "linked_patient": {"link that leads out or nowhere": 2}, "no_pixels": {"no pixels": 1},
    "no_preamble": {"no DICOM preamble": 1}, "no_preamble_no_suffix": {"no DICOM preamble": 1},
    "rgb_vrt": {"colour": 1}, "scout_unmarked": {"not axial": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
def cases(root, tmp_path_factory) -> Path:
    """Make all folders, or skip."""
    scripts = root.parent / "shared" / "cases" / "ct"
    if not scripts.is_dir():
        pytest.skip(f"no scripts at {scripts}")
    folder = tmp_path_factory.mktemp("cases")
    for name in ("make_cases.py", "dl_cases.py"):
        subprocess.run([sys.executable, scripts / name, folder], check=True)
    return folder


def taken(folder: Path, kind: str, **more):
    """Choose and prepare all slices of a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table, facts = choose(folder, kind, 99, False, SPLIT, np.random.default_rng(0), **more)
        table = prepare(folder.parent / "images.npy", table, folder, kind, (-1000, 1000), 16)
    return table, facts, np.load(folder.parent / "images.npy")


def test_every_folder_gives_its_slices_and_the_same_image(cases):
    """One phantom is in all: a body of 40 HU with a cube of water, in air."""
    _, _, images = taken(cases / "control", "dicom")
    made = {path.name for path in cases.iterdir() if path.is_dir() and path.name[:3] != "dl_"}
    assert made == LEFT_OUT.keys() | {"empty_patient_id", "one_patient_id"}
    for name, left_out in LEFT_OUT.items():
        table, facts, found = taken(cases / name, "dicom")
        assert facts["left_out"] == left_out, name
        assert len(table) == {
            "enhanced": 12,
            "elsewhere": 6,
            "linked_patient": 6,
            "rectangular": 3,
        }.get(name, 9)
        assert (table["hu_min"] == -1000).all() and (table["hu_max"] == 40).all(), name
        # rows of rectangular pixels are doubled, which blurs an edge by half a pixel
        bound = 250 if name == "rectangular" else 0
        assert np.abs(found - images[0]).max() <= bound, name


def test_patients_without_identifiers_are_told_apart_on_request(cases):
    for name, message in (
        ("empty_patient_id", "empty PatientID"),
        ("one_patient_id", "1 patients"),
    ):
        with pytest.raises(InputError, match=message):
            taken(cases / name, "dicom")
        for patient in ("study", "folder"):
            assert taken(cases / name, "dicom", patient=patient)[1]["num_patients"] == 3


def test_every_layout_of_deeplesion_is_read(cases):
    for name in ("dl_ok", "dl_float_noisy", "dl_float_split", "dl_kaggle"):
        assert len(taken(cases / name, "deeplesion")[0]) == 9
    with pytest.raises(InputError, match="allow_partial"):
        taken(cases / "dl_partial", "deeplesion")
    assert len(taken(cases / "dl_partial", "deeplesion", allow_partial=True)[0]) == 6
