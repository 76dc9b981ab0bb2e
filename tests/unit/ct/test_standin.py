"""The stand-in for DeepLesion: its exact layout, plausible HU, dependence on the seed."""

import hashlib
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from tubepet.ct.deeplesion import index_slices, read_hu
from tubepet.ct.standin import write_standin


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standin") / "ct"
    counts = write_standin(folder, num_patients=10, num_slices=40, seed=7)
    assert counts == {"num_patients": 10, "num_series": 20, "num_slices": 40}
    return folder


def digests(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_the_real_reader_reads_it(standin):
    index, counts = index_slices(standin, drop_noisy=True)
    assert len(index) == 40 and set(index["split"]) == {"train", "val", "test"}
    assert counts["num_noisy_rows_dropped"] > 0 and counts["num_missing_neighbours"] > 0
    assert index.groupby("patient")["split"].nunique().max() == 1
    assert index.groupby("patient")["series"].nunique().min() == 2


def test_the_table_has_deeplesions_18_columns(standin):
    table = pd.read_csv(standin / "DL_info.csv", dtype=str, keep_default_na=False)
    assert len(table.columns) == 18
    assert table.columns[0] == "File_name" and table.columns[-1] == "Train_Val_Test"
    for column, count in (
        ("Measurement_coordinates", 8), ("Bounding_boxes", 4), ("Lesion_diameters_Pixel_", 2),
        ("Normalized_lesion_location", 3), ("Slice_range", 2), ("Spacing_mm_px_", 3),
        ("Image_size", 2), ("DICOM_windows", 2),
    ):  # fmt: skip
        assert {len(text.split(", ")) for text in table[column]} == {count}, column


def test_hu_are_those_of_a_body(standin):
    index, _ = index_slices(standin, drop_noisy=True)
    for name in index["source_file"][::7]:
        hu = read_hu(standin / name)
        inside = hu[hu > -1024]
        fat = ((inside > -130) & (inside < -60)).mean()
        soft = ((inside > 0) & (inside < 200)).mean()
        assert hu.max() > 250  # bone
        assert fat > 0.03 and soft > 0.1  # each a visible part of the picture
        assert abs(np.median(inside[inside < -900]) + 1000) < 40  # air around the patient


def test_a_patient_depends_on_the_seed_and_its_number_only(standin, tmp_path):
    write_standin(tmp_path / "more", num_patients=11, num_slices=44, seed=7)
    ours, more = digests(standin), digests(tmp_path / "more")
    shared = {name for name in ours if name.endswith(".png")}
    assert shared and all(ours[name] == more[name] for name in shared)
    write_standin(tmp_path / "other", num_patients=1, num_slices=4, seed=8)
    other = digests(tmp_path / "other")
    assert all(ours[n] != other[n] for n in other if n.endswith(".png"))


def test_neighbouring_slices_are_alike(standin):
    index, _ = index_slices(standin, drop_noisy=True)
    by_patient = index[index["series"] == "01"].groupby("patient")["source_file"].first()
    first = [np.clip(read_hu(standin / f), -160, 240) for f in by_patient]
    second = [np.clip(read_hu(standin / f.replace("001.png", "002.png")), -160, 240)
              for f in by_patient]  # fmt: skip
    within = np.mean([np.abs(a - b).mean() for a, b in zip(first, second, strict=True)])
    between = np.mean([np.abs(a - b).mean() for a, b in pairwise(first)])
    assert within < between
