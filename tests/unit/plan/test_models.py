"""Rules and package agree on the generators."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from tubepet.generate.models import catalogue
from tubepet.plan import models
from tubepet.plan.config import checked_config


@pytest.fixture(scope="module")
def config(root):
    text = (root / "config/config.yaml").read_text()
    return checked_config(yaml.safe_load(text), root)


def test_the_plan_the_package_and_the_schema_know_the_same_models(root):
    schema = yaml.safe_load((root / "workflow/schemas/config.schema.yaml").read_text())
    section = schema["properties"]["generate"]["properties"]
    assert models.MODELS.keys() == catalogue.MODELS.keys()
    assert models.MODELS.keys() == set(section["models"]["items"]["enum"])
    trained = {name for name, model in catalogue.MODELS.items() if not model.is_fitted}
    assert trained <= section.keys()  # a section each; what is only fitted has no settings
    assert all(name == model.name for name, model in catalogue.MODELS.items())
    assert not models.FORMER_NAMES.keys() & models.MODELS.keys()
    assert set(models.FORMER_NAMES.values()) <= models.MODELS.keys()


def test_the_snakefile_gets_the_needs_without_torch():
    program = "import sys; import tubepet.plan.models; print({'torch', 'numpy'} & {*sys.modules})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


def test_settings_are_the_common_ones_and_the_models_own(config):
    settings = models.settings_of("paper", config["generate"], config)
    own = config["generate"]["paper"]
    assert settings.keys() == {*models.COMMON_KEYS, "filter_px", "sigma_x", "beta", *own}
    assert settings["beta"] == config["pretrain"]["beta"] and settings["kappa"] == own["kappa"]
    # 1.5 mm of full width are 1.5 / sqrt(8 ln 2) = 0.637 mm of standard deviation
    image = {"filter_fwhm_mm": 1.5, "pixel_mm": 0.5}
    settings = models.settings_of("vae", config["generate"], config | {"reconstruct": image})
    assert settings["filter_px"] == pytest.approx(2 * 0.63699, rel=1e-4)
    assert settings["beta"] == config["generate"]["vae"]["beta"]  # its own, not that of `pretrain`
    assert "sigma_x" not in settings and "num_samples" not in settings


def test_a_models_own_key_wins_over_the_common_one(config):
    section = config["generate"] | {"dcgan": config["generate"]["dcgan"] | {"lecam_weight": 0.7}}
    assert section["lecam_weight"] != 0.7
    assert models.settings_of("dcgan", section, config)["lecam_weight"] == 0.7


def test_a_model_without_settings_reads_the_iterations_of_the_reconstruction(config):
    assert "surrogate" not in config["generate"]
    settings = models.settings_of("surrogate", config["generate"], config)
    assert settings["num_iterations"] == config["reconstruct"]["num_iterations"]


def test_needs_are_results_by_the_names_that_the_reader_knows():
    paper, plain = models.MODELS["paper"], models.MODELS["dcgan"]
    assert models.files_of(paper.training).keys() == {
        "ct_images", "ct_table", "ct_info", "vae", "vae_info", "bank",
    }  # fmt: skip
    assert models.files_of(paper.sampling)["ct_images"] == "results/ct/slices.npy"
    assert models.files_of(plain.training) == {} == models.files_of(plain.sampling)


def test_the_longest_training_begins_first():
    def priority(name: str) -> int:
        return models.priority(SimpleNamespace(model=name))

    order = sorted(models.MODELS, key=priority, reverse=True)
    assert order == list(models.LONGEST_FIRST)
    assert priority("one of your own") > 1
