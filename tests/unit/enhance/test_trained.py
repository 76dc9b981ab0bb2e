"""Trained networks: what they say of their training images, and the images that they accept."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter

from tubepet import io
from tubepet.cli import main
from tubepet.enhance import trained
from tubepet.enhance.network import Enhancer
from tubepet.enhance.quality import enhanced, with_measured_total
from tubepet.errors import InputError
from tubepet.formats import dicom_pet
from tubepet.reconstruct.scanner.fingerprint import scanner_hash
from tubepet.types import Grid, Scanner, Volume

GRID = Grid.centred((6, 16, 16), (2.0, 1.0, 1.0))
IMAGE_KEYS = {"num_pixels": 16, "num_iterations": 5, "algorithm": "mlem"}
PROTOCOL = {"activity_bq": 600, "per": "mm3", "duration_s": 0.02, "reference_duration_s": 0.4}


@pytest.fixture(scope="module")
def section(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "config/config.yaml").read_text())["scanner"]


@pytest.fixture
def model(tmp_path: Path, section) -> Path:
    """Write the folder of a network, as `train_enhancer` does."""
    torch.manual_seed(1)
    network = Enhancer(4, use_memory=True)
    network.change.weight.data.normal_(std=0.05)
    folder = tmp_path / "memory"
    folder.mkdir()
    save_file(network.state_dict(), folder / "network.safetensors")
    table = pd.DataFrame(
        {"split": ["train", "train", "test"], "family": ["round", "bent", "stepped"]}
    )
    info = {"scale_bq_mm3": 650.0, "pixel_mm": 1.0, "slice_mm": 2.0}
    told = trained.trained_on(table, info, section, PROTOCOL, IMAGE_KEYS)
    facts = {"format": 1, "arguments": {"channels": 4, "use_memory": True}, "network": "memory"}
    io.write_json(folder / "network.json", facts | {"trained_on": told})
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Volume:
    """Write a noisy rod of 600 Bq/mm3 with what `tubepet reconstruct` writes beside it."""
    y, x = np.mgrid[:16, :16] - 7.5
    rod = 600 * (np.hypot(x, y) < 6).astype(np.float64) * np.ones((6, 1, 1))
    noisy = np.random.default_rng(0).poisson(rod / 60) * 60.0
    volume = Volume(noisy.astype(np.float32), GRID, "Bq/mm3")
    io.write_volume(tmp_path / "short.nii.gz", volume)
    return volume


def write_settings(path: Path, section: dict[str, Any], **change: Any) -> None:
    facts = {"scanner": scanner_hash(Scanner(**section)), "duration_s": 0.02, "num_iterations": 5}
    io.write_json(path, facts | change)


def run(image: Path, model: Path, output: Path, *more: str) -> Result:
    words = ["enhance", str(image), "--model", str(model), "-o", str(output), *more]
    return CliRunner().invoke(main, words)


def test_what_a_network_was_trained_on_is_kept(model, section) -> None:
    told = trained.read_trained(model).trained_on
    assert told.families == ["bent", "round"]  # of training tubes only
    assert told.scanner == scanner_hash(Scanner(**section))
    assert (told.activity_bq_mm3, told.short_s, told.num_pixels) == (600, 0.02, 16)
    assert told.image == {"num_iterations": 5, "algorithm": "mlem"}


def test_the_image_is_that_of_the_network_with_its_total(model, image, section, tmp_path) -> None:
    write_settings(tmp_path / "short.json", section)
    done = run(tmp_path / "short.nii.gz", model, tmp_path / "o.nii.gz", "--family", "bent")
    assert done.exit_code == 0, done.output
    made = io.read_volume(tmp_path / "o.nii.gz")
    network = trained.read_trained(model).network
    short = image.array / np.float32(650)
    expected = with_measured_total(enhanced(network, short), short, np.full(6, "a")) * 650
    np.testing.assert_allclose(made.array, expected, rtol=1e-5, atol=1e-3)  # float32
    assert not np.allclose(made.array, image.array, rtol=0.01)
    # 1e-5: float32 sums
    assert made.array.sum() == pytest.approx(image.array.sum(), rel=1e-5)
    assert made.grid == GRID and "not a measurement" in made.note
    facts = io.read_json(tmp_path / "o.json")
    assert facts["concerns"] == [] and facts["trained_on"]["families"] == ["bent", "round"]


def test_dicom_in_and_out(model, image, section, tmp_path) -> None:
    facts = {"scanner": scanner_hash(Scanner(**section)), "duration_s": 0.02}
    component = dicom_pet.Component("a")
    dicom_pet.write_series(tmp_path / "series", image, component, facts)
    dicom_pet.write_multiframe(tmp_path / "one.dcm", image, component, facts)
    for path in (tmp_path / "series", tmp_path / "one.dcm"):
        back, settings = dicom_pet.read_image(path)
        assert back.grid == GRID and settings == facts
        # half a step of 16 bits of the slice's largest value
        limit = 0.51 * image.array.max() / 65535
        np.testing.assert_allclose(back.array, image.array, rtol=0, atol=limit)
    done = run(tmp_path / "series", model, tmp_path / "o.dcm", "--family", "round")
    assert done.exit_code == 0, done.output
    made, settings = dicom_pet.read_image(tmp_path / "o.dcm")
    assert settings["concerns"] == [] and made.array.sum() == pytest.approx(
        image.array.sum(), rel=1e-3
    )


@pytest.mark.parametrize(
    ("change", "more", "concern"),
    [
        ({}, [], "the family of the part is not known (--family); trained on bent, round"),
        ({}, ["--family", "stepped"], "the part is stepped; trained on bent, round"),
        ({"duration_s": 0.1}, [], "its dose is about "),
        ({"duration_s": None}, [], "its duration is not known (--duration-s); trained on 0.02 s"),
        ({"num_iterations": 12}, [], "it was made with num_iterations 12; trained on 5"),
        ({"scanner": None}, [], "its scanner is not known (--scanner)"),
        ({}, ["--duration-s", "0.5"], "trained on 12 (0.02 s at 600 Bq/mm3)"),
    ],
)
def test_what_differs_is_said(
    model, image, section, tmp_path, caplog, change, more, concern
) -> None:
    write_settings(tmp_path / "short.json", section, **change)
    done = run(tmp_path / "short.nii.gz", model, tmp_path / "o.nii.gz", *more)
    assert done.exit_code == 0, done.output
    concerns = io.read_json(tmp_path / "o.json")["concerns"]
    assert any(concern in one for one in concerns), concerns
    assert concern in caplog.text


def test_another_scanner_is_refused(model, image, section, tmp_path) -> None:
    write_settings(tmp_path / "short.json", section, scanner="0123")
    done = run(tmp_path / "short.nii.gz", model, tmp_path / "o.nii.gz")
    assert done.exit_code == 2 and not (tmp_path / "o.nii.gz").exists()
    assert "short.nii.gz: got an image of scanner 0123, expected " in done.stderr
    assert "on whose images memory was trained" in done.stderr


def test_other_voxels_units_and_sizes_are_refused(model, image) -> None:
    one = trained.read_trained(model)
    origin = trained.Origin("a.nii.gz", None, None, None, {})
    other = Grid.centred((6, 16, 16), (2.0, 0.5, 0.5))
    with pytest.raises(InputError, match=r"a\.nii\.gz: got slices of 16 x 16 pixels of 0\.5 x 0"):
        trained.check(one, replace(image, grid=other), origin)
    small = Volume(image.array[:, :8, :8], Grid.centred((6, 8, 8), GRID.voxel_mm), "Bq/mm3")
    with pytest.raises(InputError, match=r"got slices of 8 x 8 pixels .* expected 16 x 16"):
        trained.check(one, small, origin)
    with pytest.raises(InputError, match="got unit 'counts-scaled', expected Bq/mm3"):
        trained.check(one, replace(image, note="counts-scaled"), origin)


def test_the_activity_of_an_image_by_hand() -> None:
    """A wide rod, blurred and noisy: the median inside is its activity."""
    grid = Grid.centred((20, 40, 40), (1.0, 1.0, 1.0))
    y, x = np.mgrid[:40, :40] - 19.5
    rod = 500.0 * (np.hypot(x, y) < 15) * np.ones((20, 1, 1))
    noisy = gaussian_filter(np.random.default_rng(2).poisson(rod / 100) * 100.0, 0.8)
    # the edge after two blurs is half as bright: some per cent of the median
    assert trained.concentration_bq_mm3(Volume(noisy, grid)) == pytest.approx(500, rel=0.05)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": None}, "got format None, expected 1: train it again"),
        ({"trained_on": {}}, "got what no version of tubepet wrote"),
        ({"arguments": {"channels": "a"}}, "got what no version of tubepet wrote"),
        ({"arguments": {"channels": 8, "use_memory": True}}, "expected the weights of a network"),
    ],
)
def test_a_wrong_folder_is_one_sentence(model, change, sentence) -> None:
    facts = io.read_json(model / "network.json")
    io.write_json(model / "network.json", facts | change)
    with pytest.raises(InputError) as caught:
        trained.read_trained(model)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_without_a_network_is_named(tmp_path, image) -> None:
    done = run(tmp_path / "short.nii.gz", tmp_path, tmp_path / "o.nii.gz")
    assert done.exit_code == 2
    assert "network.json: missing, expected a folder like results/enhance/plain" in done.stderr


def test_a_dicom_that_is_no_activity_is_refused(tmp_path, image) -> None:
    quantity = dicom_pet.Quantity("NONE", 1.0, "z", "by hand")
    dicom_pet.write_series(tmp_path / "s", image, dicom_pet.Component("a"), {}, quantity)
    with pytest.raises(InputError, match="got units NONE and axes"):
        dicom_pet.read_image(tmp_path / "s")
    paths = sorted((tmp_path / "s").iterdir())
    paths[0].write_bytes(paths[0].read_bytes()[:-7])
    with pytest.raises(InputError, match=r"slice_0000\.dcm: got \d+ bytes of pixels|damaged"):
        dicom_pet.read_image(tmp_path / "s")
    with pytest.raises(InputError, match=r"got 0 files \.dcm"):
        dicom_pet.read_image(tmp_path)
