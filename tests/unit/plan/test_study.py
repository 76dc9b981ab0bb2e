"""Runs, files and settings of the study, by hand from a small config."""

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from tests.conftest import ROOT

from tubepet.plan.config import checked_config
from tubepet.plan.study import Study

STUDY = {
    "num_seeds": 2,
    "tuning_steps": 5,
    "variants": {
        "vae": {"model": "vae", "candidates": [{}, {"latent_size": 16}]},
        "paper": {"model": "paper", "num_seeds": 1, "charge_preparation": False},
        "paper_short": {"model": "paper", "set": {"num_steps": 7}, "ablates": "paper"},
        "vae_small": {"model": "vae", "set": {"channels": 8, "augment": "none"}, "ablates": "vae"},
    },
    "curve": {"variants": ["paper"], "num_images": [30, 100], "num_seeds": 1},
    "features": {"num_tubes": 2},
    "detector": {"generator": "vae", "num_real": [25], "num_seeds": 2},
}


@pytest.fixture(scope="module")
def study() -> Study:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    return Study(checked_config(config | {"study": STUDY}, ROOT))


def of(variant: str, **others: Any) -> SimpleNamespace:
    return SimpleNamespace(variant=variant, **others)


def test_runs_are_those_of_seeds_curve_and_detector(study: Study) -> None:
    assert study.runs("paper") == ["all/0", "100/0", "30/0"]
    assert study.runs("vae") == ["all/0", "all/1", "25/0", "25/1"]
    assert study.of_runs("run.json")(of("paper"))[1] == "results/study/runs/paper/100/0/run.json"
    detector = SimpleNamespace(num_train="25")
    assert study.of_detectors("masks.npy")(detector) == [
        f"results/study/runs/vae/25/{i}/masks.npy" for i in (0, 1)
    ]
    assert study.detector_tables(detector) == [
        f"results/study/subsets/25/{i}/slices.parquet" for i in (0, 1)
    ]


def test_a_run_on_a_subset_reads_its_own_rows_and_bank(study: Study) -> None:
    whole = study.run_files(of("paper", num_train="all", i_seed="0"))
    part = study.run_files(of("paper", num_train="30", i_seed="0"))
    assert whole["table"] == "results/reconstruct/slices.parquet"
    assert {k for k in whole if whole[k] != part[k]} == {"table", "bank"}
    assert part["bank"] == "results/study/subsets/30/0/bank.safetensors"
    plain = study.run_files(of("vae", num_train="30", i_seed="1"))
    assert plain.keys() == {"choice", "table"}


def test_ablations_take_the_choice_of_their_variant(study: Study) -> None:
    assert study.tuned == ["vae"] and study.pictured == ["vae", "paper"]
    assert study.choice(of("vae_small")) == {"choice": "results/study/tuning/vae.json"}
    assert study.choice(of("paper_short")) == {}
    assert study.candidate(of("vae", i_candidate="1")) == {"latent_size": 16}
    assert study.candidate_scores(of("vae"))[1] == "results/study/tuning/vae/1.json"


def test_settings_are_those_of_the_model_with_what_the_variant_fixes(study: Study) -> None:
    settings = study.settings(of("vae_small"))
    assert (settings["channels"], settings["augment"]) == (8, "none")
    assert "num_steps" not in settings and settings["sample_every"] == 10**9
    assert study.fixed_steps(of("paper_short")) == 7 and study.fixed_steps(of("paper")) == 0
    assert not study.charges_preparation(of("paper"))
    assert study.charges_preparation(of("vae"))  # as study.charge_preparation says
    assert study.reference_settings(of("vae"))["augment"] == "dihedral"


def test_further_tubes_follow_those_of_the_data_set(study: Study) -> None:
    assert study.of_feature_tubes("phantom/{tube}/truth.json") == [
        f"results/phantom/{tube}/truth.json" for tube in ("tube_0084", "tube_0085")
    ]
