"""Real CT slices pass both readers, the stack of slices, and the VAE."""

import csv
import shutil

import numpy as np
import pytest

from tubepet import io
from tubepet.ct import deeplesion, dicom
from tubepet.ct.prepare import choose, prepare
from tubepet.pretrain.train import train_vae
from tubepet.rng import stream

WINDOW_HU = (-160.0, 240.0)
SETTINGS = {
    "latent_size": 8, "channels": 8, "num_steps": 4, "batch_size": 4, "learning_rate": 1e-3,
    "beta": 1.0, "kl_anneal_steps": 2, "sigma_x": 0.3, "validate_every": 2, "checkpoint_every": 2,
}  # fmt: skip


def prepared(source_dir, file_format, out):
    split = {"train": 0.6, "val": 0.2, "test": 0.2}
    chosen, facts = choose(source_dir, file_format, 60, True, split, stream(1, "ct", "prepare"))
    table = prepare(out / "slices.npy", chosen, source_dir, file_format, WINDOW_HU, 32)
    return io.read_array(out / "slices.npy"), table, facts


def learn(images, table, out):
    split = table["split"].to_numpy(str)
    trained = train_vae(images, split, WINDOW_HU, SETTINGS, 1, out / "vae.pt", "real")
    assert np.isfinite(trained.facts["val_reconstruction_nats"])


@pytest.fixture
def axial_dicom(shared_ct, tmp_path):
    """Return links-free copies in the test's own folder: all but the sagittal file."""
    folder = tmp_path / "dicom"
    folder.mkdir()
    for path in (shared_ct / "dicom").glob("*.dcm"):
        if "sagittal" not in path.name:
            shutil.copy(path, folder)
    return folder


def test_every_png_has_the_range_of_the_manifest(shared_ct):
    with open(shared_ct / "MANIFEST.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 105
    for line in rows[::5]:
        hu = deeplesion.read_hu(shared_ct / line["file"])
        assert (hu.min(), hu.max()) == (int(line["hu_min"]), int(line["hu_max"])), line["file"]


def test_png_folder_to_vae(shared_ct, tmp_path):
    images, table, facts = prepared(shared_ct, "deeplesion", tmp_path)
    assert facts["num_slices_found"] == 105 and facts["num_patients"] == 8
    assert facts["split_from"] == "Train_Val_Test" and len(images) == 60
    assert table.groupby("patient")["split"].nunique().max() == 1
    assert images.min() >= -160 and images.max() <= 240 and images.std() > 50
    assert table["hu_min"].min() < -1024  # the padding was there, and the window removed it
    learn(images, table, tmp_path)


def test_dicom_folder_to_vae(axial_dicom, tmp_path):
    images, table, facts = prepared(axial_dicom, "dicom", tmp_path)
    assert facts["split_from"] == "seed" and facts["num_patients"] == 4
    assert len(images) == 7 and set(table["split"]) == {"train", "val", "test"}
    learn(images, table, tmp_path)


def test_the_sagittal_file_is_left_out(shared_ct):
    index, counts = dicom.index_slices(shared_ct / "dicom")
    assert "covid_a002304_sagittal.dcm" not in set(index["source_file"])
    assert counts["left_out"]["reformatted view"] == 1


def test_both_readers_agree(shared_ct, axial_dicom):
    """Find each DICOM slice among the PNGs: equal HU wherever neither is padding."""
    stacks = {"lung": "900001_01_01", "head": "920001_01_01", "data": "930001_01_01"}
    index, _ = dicom.index_slices(axial_dicom)
    num_found = 0
    for name in index["source_file"]:
        folder = stacks.get(name.split("_")[0])
        if folder is None:
            continue
        hu = dicom.read_hu(axial_dicom / name)
        pngs = (shared_ct / "Images_png" / folder).glob("*.png")
        num_found += any(
            np.array_equal(np.maximum(deeplesion.read_hu(p), -1000), np.maximum(hu, -1000))
            for p in pngs
        )
    assert num_found == 6
