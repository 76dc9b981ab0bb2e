"""Every model makes images from its folder alone, and as one ONNX graph if it can be one."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from tubepet import io
from tubepet.cli import main
from tubepet.errors import InputError
from tubepet.generate import export, sample, trained
from tubepet.generate.models import catalogue
from tubepet.plan import models
from tubepet.rng import derived_seed

SCALE_BQ_MM3 = 600.0


@pytest.fixture
def folder(tmp_path, config, data):
    """Return folder(model): results/generate/<model> of an untrained generator, and results/ct."""

    def write(name: str, **changes) -> Path:
        settings = config(name, **changes)
        torch.manual_seed(3)
        model = catalogue.MODELS[name]
        if model.is_fitted:
            network = model.fit(settings, data)[0]
        else:
            network = model.make_networks(settings, data)["generator"]
        # nothing starts at zero that would hide a step
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.rand_like(tensor))
        path = tmp_path / "results/generate" / name
        path.mkdir(parents=True)
        save_file(network.state_dict(), path / "generator.safetensors")
        facts = {
            "format": 1, "model": name, "scale_bq_mm3": SCALE_BQ_MM3, "pixel_mm": 1.0,
            "slice_mm": 2.0, "code": "abc", "seed": 7,
            "arguments": catalogue.MODELS[name].generator_arguments(settings, data),
        }  # fmt: skip
        io.write_json(path / "generator.json", facts)
        ct = tmp_path / "results/ct"
        io.write_array(ct / "slices.npy", data.ct.array)
        split = ["train"] * 4 + ["val"] * 2
        io.write_table(ct / "slices.parquet", pd.DataFrame({"split": split}))
        io.write_json(ct / "slices.json", {"window_hu": [data.ct.low, data.ct.high]})
        return path

    return write


def run(*arguments: str):
    return CliRunner().invoke(main, arguments)


def generated(path: Path, out: Path, *more: str) -> np.ndarray:
    options = ("--n", "3", "--format", "npz", "--seed", "5", "--out", str(out))
    done = run("generate", "--model", str(path), *options, *more)
    assert done.exit_code == 0, done.output
    with np.load(out / "images.npz", allow_pickle=False) as arrays:
        return arrays["images"]


@pytest.mark.parametrize("name", catalogue.MODELS)
def test_the_folder_makes_the_images_that_the_run_would(folder, data, tmp_path, name):
    path = folder(name)
    images = generated(path, tmp_path / "out")
    assert images.shape == (3, 32, 32) and images.std() > 0
    generator = trained.read_generator(path)
    rng = torch.Generator().manual_seed(derived_seed(5, "generate", name, "generate", 0))
    ct = trained.with_queries(generator, tmp_path / "results/ct").data.ct
    assert list(ct.rows) == [0, 1, 2, 3]  # of training patients only
    with_ct = replace(data, ct=ct)
    num = trained.CHUNK
    expected = sample.sample_images(generator.model, generator.network, num, with_ct, rng)
    np.testing.assert_array_equal(images, expected[:3])


def test_a_folder_of_a_former_name_is_read_as_the_present_model(folder, monkeypatch):
    path = folder("dcgan")
    io.write_json(path / "generator.json", io.read_json(path / "generator.json") | {"model": "old"})
    with pytest.raises(InputError, match="got model 'old', expected one of vae, dcgan"):
        trained.read_generator(path)
    monkeypatch.setitem(models.FORMER_NAMES, "old", "dcgan")
    assert trained.read_generator(path).model is catalogue.MODELS["dcgan"]


def test_queries_come_from_the_folder_that_is_named(folder, tmp_path):
    path = folder("paper")
    first = generated(path, tmp_path / "first")
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "results/ct").rename(elsewhere)
    done = run("generate", "--model", str(path), "--n", "1", "--out", str(tmp_path / "none"))
    assert done.exit_code == 2 and "slices.npy: missing, expected the CT slices" in done.stderr
    np.testing.assert_array_equal(
        first, generated(path, tmp_path / "again", "--ct", str(elsewhere))
    )
    io.write_array(elsewhere / "slices.npy", np.zeros((6, 16, 16), np.float32))
    options = ("--n", "1", "--out", str(tmp_path / "none"), "--ct", str(elsewhere))
    done = run("generate", "--model", str(path), *options)
    assert (
        done.exit_code == 2 and "got slices of 16 pixels, expected 32, the model's" in done.stderr
    )
    done = run("generate", "--model", str(folder("dcgan")), *options)
    assert done.exit_code == 2 and "'dcgan' is not queried with CT" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["vae", "dcgan", "fastgan"])  # wgan has DCGAN's generator
def test_the_graph_gives_the_images_of_torch(folder, tmp_path, name):
    path, file = folder(name), tmp_path / f"{name}.onnx"
    done = run("export", "--model", str(path), "-o", str(file), "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert {p.key: p.value for p in onnx.load(file).metadata_props}.items() >= facts.items()
    assert (facts["model"], facts["seed"], float(facts["scale_bq_mm3"])) == (name, "7", 600.0)

    generator = trained.read_generator(path)
    rng = torch.Generator().manual_seed(derived_seed(5, "generate", name, "generate", 0))
    inputs = export.example(generator, trained.CHUNK, rng)  # exported with 2
    assert {name: one["shape"][1:] for name, one in json.loads(facts["inputs"]).items()} == {
        name: list(value.shape[1:]) for name, value in inputs.items()
    }
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (images,) = session.run([export.OUTPUT], {k: v.numpy() for k, v in inputs.items()})
    with torch.no_grad():
        expected = export.Physical(generator)(*inputs.values()).numpy()
    # float32 sums in another order, 6e-8 of the scale for each rounding; up to 5e-7 was seen
    tolerance = 3e-6 * SCALE_BQ_MM3
    assert expected.std() > 50 * tolerance and images.shape == (trained.CHUNK, 32, 32)
    np.testing.assert_allclose(images, expected, rtol=0, atol=tolerance)
    if name == "dcgan":  # whose only chance is z: fed with the numbers that `generate` draws
        made = generated(path, tmp_path / "out")
        np.testing.assert_allclose(images[:3], made, rtol=0, atol=tolerance)


def test_every_model_is_exported_or_refused_with_its_reason(folder, tmp_path):
    known = catalogue.MODELS
    refused = [name for name, model in known.items() if model.why_no_graph]
    assert known.keys() - refused == {
        "vae",
        "dcgan",
        "wgan",
        "fastgan",
    }  # as tested above
    assert known["wgan"].network is known["dcgan"].network
    for name in refused:
        done = run("export", "--model", str(folder(name)), "-o", str(tmp_path / "no.onnx"))
        assert done.exit_code == 2 and known[name].why_no_graph in done.stderr
    done = run("export", "--model", str(folder("dcgan")), "-o", str(tmp_path / "no.pt"))
    assert done.exit_code == 2 and "expected a new NAME.onnx" in done.stderr
    assert not list(tmp_path.glob("no.*"))
