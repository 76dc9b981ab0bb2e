"""The study's measurements of every model: its cost, and an outcome even if it diverges."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tubepet.generate.data import Data
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.run import Task
from tubepet.study import cost, outcome

PRETRAIN = {
    "latent_size": 8, "channels": 8, "num_steps": 1000, "batch_size": 4, "learning_rate": 1e-3,
    "beta": 1.0, "kl_anneal_steps": 1, "sigma_x": 1.0, "validate_every": 10**6,
    "checkpoint_every": 10**6,
}  # fmt: skip
FEATURES = {
    "num_components": 3, "pcanet_filter_size": 3, "pcanet_num_filters": 2,
    "pcanet_num_blocks": 2, "pcanet_components": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", ["dcgan", "paper"])
def test_cost_counts_flops_parameters_and_preparation(
    name: str, data: Data, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "ROUND_S", 0.01)
    model_data = data if name == "paper" else Data(data.real)
    variant, reference = (Task(MODELS[n], config(n), model_data, 1) for n in (name, "dcgan"))
    found = cost.measure(variant, reference)
    found["preparation_s"] += cost.preparation_s(model_data, PRETRAIN, FEATURES, 1)
    assert found["step_s"] > 0 and found["reference_step_s"] > 0 and found["flops_per_step"] > 1e5
    assert set(found["parameters"]) == {"generator", "critic"}
    if name == "dcgan":
        assert found["preparation_s"] < found["step_s"]
    else:
        # a thousand steps of the VAE cost more than ten of so small a GAN
        assert found["preparation_s"] > 10 * found["step_s"]


def test_a_fit_costs_its_preparation_and_takes_no_step(data: Data, config: Any) -> None:
    variant, reference = (Task(MODELS[n], config(n), data, 1) for n in ("surrogate", "dcgan"))
    found = cost.measure(variant, reference)
    assert found["preparation_s"] > 0 and found["step_s"] == found["flops_per_step"] == 0
    budget = int(2 * found["preparation_s"] / found["reference_step_s"]) + 1
    assert cost.num_steps(found, budget, True, "surrogate") == 0


def test_flops_by_hand_with_a_second_derivative() -> None:
    x, w = torch.ones(3, 4, requires_grad=True), torch.ones(4, 5)
    assert cost.count_flops(lambda: x @ w) == 2 * 3 * 4 * 5

    def penalty() -> None:
        (slope,) = torch.autograd.grad((x @ w).sum(), x, create_graph=True)
        slope.square().sum()

    assert cost.count_flops(penalty) == 2 * (2 * 3 * 4 * 5)  # forward, and gradient of x


def test_outcome_is_reproducible_and_divergence_is_one(
    data: Data, config: Any, tmp_path: Path
) -> None:
    task = Task(MODELS["dcgan"], config("dcgan"), data, 1)
    runs = [outcome.train_and_sample(task, 6, "c", tmp_path / str(i)) for i in range(2)]
    assert runs[0].images.shape == (6, 32, 32) and np.array_equal(runs[0].images, runs[1].images)
    assert runs[0].cpu_s is not None and runs[0].cpu_s > 0 and runs[0].diverged == ""
    assert len(runs[0].labelled.images) == 0  # of a model without labels
    wild = replace(task, config=config("dcgan", learning_rate=1e30))
    lost = outcome.train_and_sample(wild, 6, "c", tmp_path / "wild")
    assert len(lost.images) == 0 and "expected a finite number" in lost.diverged


def test_the_detector_gets_half_as_they_come_and_half_of_each_class_in_turn(
    data: Data, config: Any
) -> None:
    task = Task(MODELS["surrogate"], config("surrogate"), data, 1)
    network = MODELS["surrogate"].fit(task.config, data)[0]
    made = outcome.labelled_images(task, network, 26, torch.Generator().manual_seed(0))
    assert made.images.shape == made.masks.shape == (13 + 6 * 2, 32, 32)
    assert 0 <= made.images.min() < made.images.max() <= 600  # Bq/mm3
    classes = [name for name in data.volumes.population.phantom["defects"] if name != "none"]
    assert list(made.labels["defect"][13:]) == [name for name in classes for _ in range(2)]
    assert made.masks[13:].any((1, 2)).all()  # a slice that cuts the defect


def test_the_chosen_keys_hold_unless_the_variant_sets_them() -> None:
    settings = {"learning_rate": 1.0, "augment": "none", "apg_weight": 0.0}
    choice = {"set": {"learning_rate": 2.0, "apg_weight": 5.0}}
    expected = {"learning_rate": 2.0, "augment": "none", "apg_weight": 0.0}
    assert outcome.tuned(settings, {"apg_weight": 0.0}, choice) == expected
