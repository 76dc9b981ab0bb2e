"""Tiny training sets, and the config section of each model at toy size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from tubepet.dataset.drawing import Population, SliceGrid, draw_new, draw_slices
from tubepet.features.bank import fit_bank
from tubepet.generate.data import Data, Volumes, ct_images, positron_images
from tubepet.pretrain.vae import ConvVAE

SIZE = 32
FEATURES = {
    "num_components": 3, "pcanet_filter_size": 5, "pcanet_num_filters": 2, "pcanet_num_blocks": 3,
    "pcanet_components": 2,
}  # fmt: skip
COMMON = {
    "batch_size": 4,
    "ema_images": 40,
    "augment": "diffaug",
    "lecam_weight": 0.1,
    "r1_weight": 0.1,
    "output": "activity",
    "filter_px": 1.3,
    "precision": "full",
    "checkpoint_every": 2,
    "sample_every": 100,
}
SECTIONS: dict[str, dict[str, Any]] = {
    "paper": {
        "num_steps": 4,
        "learning_rate": 4e-4,
        "encoder_learning_rate": 4e-5,
        "apg_weight": 1.0,
        "vae_weight": 1e-4,
        "prior_fraction": 0.5,
        "features": "both",
        "slots": "image",
        "attention": "cosine",
        "kappa": 10.0,
        "logit_std": 3.0,
        "entropy_weight": 0.0,
        "fuse": "normalised_concat",
        "normalise_query": True,
        "shuffle_contexts": False,
        "layout": "up",
        "reduce": "loss_mean",
        "real": "positron",
        "pairing": "assignment",
        "apg_margin": 0.0,
        "sample_query": "mixed",
        "stem_channels": 16,
        "growth": 4,
        "layers_per_block": 1,
        "noise_size": 4,
        "disc_channels": 4,
        "sigma_x": 0.3,
        "beta": 1.0,
    },
    "vae": {
        "num_steps": 4,
        "learning_rate": 1e-3,
        "latent_size": 4,
        "channels": 8,
        "beta": 1.0,
    },
    "dcgan": {
        "num_steps": 4,
        "loss": "bce",
        "learning_rate": 4e-4,
        "latent_size": 4,
        "channels": 4,
        "disc_channels": 4,
    },
    "fastgan": {
        "num_steps": 4,
        "loss": "hinge",
        "learning_rate": 2e-4,
        "latent_size": 4,
        "channels": 4,
        "disc_channels": 4,
    },
    "edm": {
        "num_steps": 4,
        "learning_rate": 1e-3,
        "channels": 8,
        "num_sampling_steps": 3,
    },
    "wgan": {
        "num_steps": 4,
        "learning_rate": 5e-4,
        "latent_size": 4,
        "channels": 4,
        "disc_channels": 4,
        "critic_steps": 2,
        "clip": 0.01,
    },
    "flow": {"num_steps": 4, "learning_rate": 1e-3, "channels": 8, "num_sampling_steps": 2},
    "surrogate": {"num_iterations": 4, "num_subsets": 1},
}


@pytest.fixture
def config() -> Callable[..., dict[str, Any]]:
    """Return config(model, **changes)."""
    return lambda model, **changes: COMMON | SECTIONS[model] | changes


@pytest.fixture(scope="session")
def volumes(root: Path) -> Volumes:
    """Return volumes of three small tubes, in noise of no particular kind, and their drawings."""
    phantom = yaml.safe_load((root / "config/config.yaml").read_text())["phantom"]
    phantom |= {"length_mm": [8.0, 9.0], "bore_radius_mm": [5.0, 6.0], "wall_mm": [2.0, 2.5]}
    phantom |= {"bend_mm": [1.0, 2.0]}
    phantom["defect_size_mm"] |= {"thinning": [4.0, 8.0]}  # as in config/smoke.yaml: narrow bores
    population = Population(
        phantom, SliceGrid(SIZE, 1.0, 1.0, 2.6, 1.5), num_slices=10, margin_mm=1.0
    )
    rng = np.random.default_rng(0)
    _, _, tubes = draw_new(population, 3, rng, {})
    drawn = [draw_slices(tube, population.all_mm, population.grid) for tube in tubes]
    expected = np.stack([one.expected for one in drawn])
    images = 500 * expected * rng.lognormal(0, 0.2, expected.shape)
    fluid = np.stack([one.fluid for one in drawn])
    return Volumes(images.astype(np.float32), fluid, population, (2.3, 3.0))


@pytest.fixture
def data(volumes: Volumes) -> Data:
    """Return 8 random positron slices with their bank, 6 CT slices and an untrained encoder."""
    rng = np.random.default_rng(0)
    slices = rng.uniform(0, 500, (10, SIZE, SIZE)).astype(np.float32)
    ct = rng.uniform(-160, 240, (6, SIZE, SIZE)).astype(np.float32)
    real = positron_images(slices, np.arange(10) >= 2, 600.0)
    fitted, _ = fit_bank(real.exact(), FEATURES)
    torch.manual_seed(0)
    return Data(
        real=real,
        ct=ct_images(ct, np.ones(6, bool), (-160.0, 240.0)),
        vae=ConvVAE(SIZE, 8, 8).eval(),
        features={name: torch.from_numpy(array) for name, array in fitted.items()},
        volumes=volumes,
    )
