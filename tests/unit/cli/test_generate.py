import json
import os
import subprocess
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from tubepet import io
from tubepet.cli import main
from tubepet.dataset.drawing import Population, SliceGrid
from tubepet.generate.models import catalogue

ARGUMENTS = {
    "image_size": 16, "latent_size": 4, "channels": 4, "output": "activity", "filter_px": 0.6,
}  # fmt: skip
FACTS = {
    "format": 1, "model": "dcgan", "arguments": ARGUMENTS, "scale_bq_mm3": 600.0, "pixel_mm": 0.5,
    "slice_mm": 1.0, "code": "abc",
}  # fmt: skip


@pytest.fixture
def drawn_model(tmp_path, root) -> Path:
    """Write the folder of a generator that can be asked for tubes, not fitted to any."""
    phantom = yaml.safe_load((root / "config/config.yaml").read_text())["phantom"]
    population = Population(
        phantom, SliceGrid(32, 1.0, 1.0, 2.6, 1.5), num_slices=32, margin_mm=1.0
    )
    arguments = {
        "image_size": 32, "population": asdict(population), "model_mm": [2.3, 3.0],
        "num_iterations": 2,
    }  # fmt: skip
    torch.manual_seed(3)
    folder = tmp_path / "surrogate"
    folder.mkdir()
    network = catalogue.MODELS["surrogate"].make_generator(arguments)
    save_file(network.state_dict(), folder / "generator.safetensors")
    io.write_json(folder / "generator.json", FACTS | {"model": "surrogate", "arguments": arguments})
    (folder / "card.md").write_text("# Model card")
    return folder


@pytest.fixture
def model(tmp_path) -> Path:
    """Write the folder of an untrained generator."""
    torch.manual_seed(3)
    network = catalogue.MODELS["dcgan"].make_generator(ARGUMENTS)
    folder = tmp_path / "dcgan"
    folder.mkdir()
    save_file(network.state_dict(), folder / "generator.safetensors")
    io.write_json(folder / "generator.json", FACTS)
    return folder


def run(model: Path, out: Path, *more: str):
    arguments = ["--model", str(model), "--n", "3", "--out", str(out), *more]
    return CliRunner().invoke(main, ["generate", *arguments])


def images(folder: Path) -> np.ndarray:
    with np.load(folder / "images.npz", allow_pickle=False) as arrays:
        return arrays["images"]


def test_every_format_holds_the_same_images(model, tmp_path):
    for kind in ("npz", "png", "nifti", "dicom"):
        done = run(model, tmp_path / kind, "--format", kind)
        assert done.exit_code == 0, done.output
        labels = pd.read_csv(tmp_path / kind / "labels.csv")
        assert list(labels["number"]) == [0, 1, 2]
        assert all((tmp_path / kind / name).is_file() for name in labels["file"])
    reference = images(tmp_path / "npz")
    assert reference.shape == (3, 16, 16) and (reference >= 0).all() and reference.std() > 0
    np.testing.assert_allclose(labels["sum_bq"], reference.sum((1, 2)) * 0.25, rtol=1e-5)
    for i, image in enumerate(reference):
        with Image.open(tmp_path / f"png/image_{i:06d}.png") as png:
            shown = np.asarray(png, dtype=float) / 65535 * 600
        volume = io.read_volume(tmp_path / f"nifti/image_{i:06d}.nii.gz")
        data = pydicom.dcmread(tmp_path / f"dicom/image_{i:06d}.dcm")
        told = data.pixel_array * float(data.RescaleSlope) / 1000
        # half a step of 16 bits of the scale; NIfTI holds the floats themselves
        np.testing.assert_allclose(shown, image, rtol=0, atol=0.51 * 600 / 65535)
        np.testing.assert_allclose(told, image, rtol=0, atol=0.51 * image.max() / 65535)
        np.testing.assert_array_equal(volume.array[0], image)
        assert volume.grid.voxel_mm == (1.0, 0.5, 0.5) and "not a measurement" in volume.note
        assert data.PatientID == f"generated_dcgan_2020_{i:06d}" and data.SyntheticData == "YES"
        assert f"seed 2020, number {i}. Not a measurement." in data.DerivationDescription


def test_the_seed_makes_the_images(model, tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert run(model, tmp_path / name, "--format", "npz", "--seed", seed).exit_code == 0
    np.testing.assert_array_equal(images(tmp_path / "a"), images(tmp_path / "b"))
    assert not np.array_equal(images(tmp_path / "a"), images(tmp_path / "c"))


def test_image_i_is_the_same_however_many_are_made(model, drawn_model, tmp_path):
    for name, folder in (("plain", model), ("drawn", drawn_model)):
        rows = {}
        for num in ("1", "21", "45"):  # batches hold 20
            out = tmp_path / f"{name}{num}"
            assert run(folder, out, "--format", "npz", "--n", num).exit_code == 0
            rows[num] = images(out), pd.read_csv(out / "labels.csv")
        most, labels = rows["45"]
        if name == "plain":  # the drawn one is not trained: all black, but its labels differ
            assert len({image.tobytes() for image in most}) == len(most) == 45
        else:
            assert labels["z_mm"].nunique() > 20
        for num in ("1", "21"):
            some, its_labels = rows[num]
            np.testing.assert_array_equal(some, most[: int(num)])
            pd.testing.assert_frame_equal(its_labels, labels[: int(num)])


def test_a_card_that_leads_elsewhere_is_no_card(model, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (model / "card.md").symlink_to(tmp_path / "secret")
    assert run(model, tmp_path / "a").exit_code == 0
    assert not (tmp_path / "a/card.md").exists()
    (model / "card.md").unlink()
    os.mkfifo(model / "card.md")  # opened, it would wait for ever
    assert run(model, tmp_path / "b").exit_code == 0
    (model / "card.md").unlink()
    for data, message in (
        (b"\xff", "expected text in UTF-8"),
        (b" " * (2**20 + 1), "at most 1048"),
    ):
        (model / "card.md").write_bytes(data)
        done = run(model, tmp_path / "c")
        assert done.exit_code == 2 and message in done.stderr
        assert "card.md" in done.stderr and not (tmp_path / "c").exists()


def test_the_summary_is_json_on_request(model, tmp_path):
    facts = json.loads(run(model, tmp_path / "o", "--json").output)
    assert (facts["model"], facts["num_images"], facts["unit"]) == ("dcgan", 3, "Bq/mm3")
    assert io.read_json(tmp_path / "o/generator.json") == facts


def test_a_model_that_cannot_be_asked_says_so(model, tmp_path):
    done = run(model, tmp_path / "o", "--family", "elbow")
    assert done.exit_code == 2 and "model 'dcgan' cannot be asked" in done.stderr
    assert not (tmp_path / "o").exists()


def test_tubes_are_made_as_asked_with_their_labels(drawn_model, tmp_path):
    out = tmp_path / "o"
    done = run(drawn_model, out, "--family", "bent", "--defect", "pit")
    assert done.exit_code == 0, done.output
    labels = pd.read_csv(out / "labels.csv")
    assert set(labels["family"]) == {"bent"} and set(labels["defect"]) == {"pit"}
    assert (out / "card.md").read_text() == "# Model card"
    for row in labels.itertuples():
        with Image.open(out / f"mask_{row.number:06d}.png") as png:
            mask = np.asarray(png) > 0
        inside = mask[row.y_low_px : row.y_high_px, row.x_low_px : row.x_high_px]
        assert inside.any() and inside.sum() == mask.sum()


def test_size_and_place_are_as_asked(drawn_model, tmp_path):
    out = tmp_path / "o"
    place = ("--size-mm", "5", "--z-mm", "2", "--angle-deg", "40")
    done = run(drawn_model, out, "--family", "round", "--defect", "bubble", *place)
    assert done.exit_code == 0, done.output
    labels = pd.read_csv(out / "labels.csv")
    assert (labels["defect_size_mm"] == 5).all()
    assert (np.abs(labels["z_mm"] - 2) < 3).all()  # half of the bubble and of a slice
    assert (labels["x_high_mm"] - labels["x_low_mm"] <= 6).all()  # a pixel of 1 mm more


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (("--family", "elbow"), "family: got 'elbow', expected one of round"),
        (("--defect", "rust"), "defect: got 'rust', expected one of none"),
        (("--defect", "pit", "--size-mm", "-2"), "defect_size_mm: got -2 mm, expected more than 0"),
        (("--defect", "pit", "--z-mm", "90"), "defect_z_mm: got 90 mm, expected within the tube"),
    ],
)
def test_an_unknown_wish_is_named(drawn_model, tmp_path, wish, message):
    done = run(drawn_model, tmp_path / "o", *wish)
    assert done.exit_code == 2 and message in done.stderr, done.output
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 9}, "got format 9, expected 1: train it again"),
        ({"model": "stylegan"}, "got model 'stylegan', expected one of vae, dcgan"),
        ({"arguments": {"image_size": 16}}, "another version of tubepet"),
        ({"pixel_mm": None}, "pixel_mm got None, expected above 0"),
        ({"pixel_mm": 0}, "pixel_mm got 0, expected above 0, at most 1000"),
        ({"slice_mm": 1e9}, "slice_mm got 1000000000.0, expected above 0, at most 1000"),
        ({"scale_bq_mm3": -600.0}, "scale_bq_mm3 got -600.0, expected above 0"),
        ({"scale_bq_mm3": 1e300}, "scale_bq_mm3 got 1e+300, expected above 0"),
        (
            {"arguments": {**ARGUMENTS, "filter_px": 1e9}},
            "filter_px: got 1000000000.0 for",
        ),
        (
            {"arguments": {**ARGUMENTS, "filter_px": -1}},
            "filter_px: got -1 for images of 16",
        ),
        ({"arguments": {**ARGUMENTS, "image_size": 60000}}, "for images of 60000 pixels, expected"),
        ({"arguments": {**ARGUMENTS, "channels": 8}}, "expected the weights of a generator with"),
    ],
)
def test_a_wrong_folder_is_named(model, tmp_path, change, message):
    io.write_json(model / "generator.json", FACTS | change)
    done = run(model, tmp_path / "o")
    assert done.exit_code == 2 and message in done.stderr, done.output
    assert str(model) in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(model, tmp_path, value):
    network = catalogue.MODELS["dcgan"].make_generator(ARGUMENTS)
    tensors = network.state_dict()
    name = next(iter(tensors))
    save_file(tensors | {name: torch.full_like(tensors[name], value)},
              model / "generator.safetensors")  # fmt: skip
    done = run(model, tmp_path / "o")
    assert done.exit_code == 2 and f"got weights {name} that are not finite" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_slices", 10**9), ("num_pixels", 0), ("pixel_mm", -1.0), ("fwhm_mm", 1e9)],
)
def test_a_population_is_bounded(drawn_model, tmp_path, name, value):
    path = drawn_model / "generator.json"
    facts = json.loads(path.read_text())
    facts.pop("sha256")
    population = facts["arguments"]["population"]
    (population if name == "num_slices" else population["grid"])[name] = value
    path.write_text(json.dumps(facts))
    done = run(drawn_model, tmp_path / "o")
    assert done.exit_code == 2 and f"generator.json: population: {name} got" in done.stderr


def test_wrong_requests_leave_nothing_behind(model, tmp_path):
    (tmp_path / "old").mkdir()
    assert "expected a new folder" in run(model, tmp_path / "old").stderr
    arguments = ["generate", "--model", str(model), "--n", "-1", "--out", str(tmp_path / "o")]
    assert "x>=1" in CliRunner().invoke(main, arguments).stderr
    done = run(model, Path("/proc/o"))  # where nobody can write, root included
    assert done.exit_code == 3 and done.stderr.startswith("error: /proc"), done.stderr
    (model / "generator.safetensors").write_bytes(b"cut")
    assert "expected safetensors" in run(model, tmp_path / "o").stderr
    (model / "generator.safetensors").unlink()
    assert "generator.safetensors: missing" in run(model, tmp_path / "o").stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dcgan", "old"]


def test_a_full_disk_is_named(model, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(full)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        done = run(model, full / "o", "--format", "nifti")
        left = list(full.iterdir())
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert done.exit_code == 3 and "No space left on device" in done.stderr
    assert left == []


def test_nothing_in_the_archive_is_pickled(model, tmp_path):
    run(model, tmp_path / "o", "--format", "npz")
    with zipfile.ZipFile(tmp_path / "o/images.npz") as archive:
        assert archive.namelist() == ["images.npy"]
