"""Measure the training speed of every generator of slices at the sizes of config/config.yaml.

The result is images per CPU-second over those of our DCGAN. One thread trains both in turn, since a
busy machine slows both. Speed of sampling and FLOPs of a step are recorded too. Slices are drawings
with noise, as the time of a step does not depend on their content.
"""

from functools import partial
from math import hypot
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import yaml
from record import record

from tubepet.dataset.drawing import Population, SliceGrid, draw_new
from tubepet.generate.data import Data, ct_images, positron_images
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.run import Run, Task, bare, start
from tubepet.generate.sample import sample_images
from tubepet.plan.config import checked_config
from tubepet.plan.models import VOLUMETRIC, settings_of
from tubepet.pretrain.vae import ConvVAE
from tubepet.study.cost import count_flops, spent_s
from tubepet.training.devices import make_fabric

ROOT = Path(__file__).parent.parent
PEER = "dcgan"
NUM_SLICES = 128
NUM_SAMPLES = 64
NUM_ROUNDS = 5
STEPS_PER_ROUND = 2
# Share of DCGAN's images per second below which an equal budget leaves too few steps: wgan takes
# five critic steps for each of the generator, the others one to two passes of larger networks.
TARGETS = {"wgan": 0.1}
TARGET = 0.25


def synthetic_data(config: dict[str, Any]) -> Data:
    """Return slices of drawn tubes with noise, and an encoder and a bank of the config's sizes."""
    image, pretrain = config["reconstruct"], config["pretrain"]
    rng = np.random.default_rng(0)
    keys = ("num_pixels", "pixel_mm", "slice_mm", "filter_fwhm_mm")
    fwhm_mm = hypot(image["psf_fwhm_mm"], image["filter_fwhm_mm"])
    grid = SliceGrid(**{key: image[key] for key in keys}, fwhm_mm=fwhm_mm)
    population = Population(config["phantom"], grid, image["num_slices"], image["slice_margin_mm"])
    drawings, _, _ = draw_new(population, NUM_SLICES, rng, {})
    slices = drawings.expected * rng.lognormal(0, 0.2, drawings.expected.shape)
    slices = (0.8 * slices).astype(np.float32)
    everything = np.ones(NUM_SLICES, bool)
    num_features = [config["features"][key] for key in ("num_components", "pcanet_components")]
    return Data(
        real=positron_images(slices, everything, 1.0),
        ct=ct_images(slices, everything, (0.0, 1.0)),
        vae=ConvVAE(image["num_pixels"], pretrain["latent_size"], pretrain["channels"]),
        features={
            "bank": torch.randn(NUM_SLICES, sum(num_features)),
            "pca_components": torch.empty(num_features[0], 0),
        },
    )


def begin(name: str, config: dict[str, Any], data: Data, precision: str = "full") -> Run:
    """Return a training of a model with the config's settings."""
    settings = settings_of(name, config["generate"], config) | {"precision": precision}
    return start(Task(MODELS[name], settings, data, seed=0), make_fabric(precision))


def take_steps(name: str, run: Run, num_steps: int) -> None:
    """Train for some steps."""
    for _ in range(num_steps):
        run.step += 1  # every sixteenth has the R1 penalty
        MODELS[name].train_step(run)


def sampled_per_s(name: str, run: Run) -> float:
    """Return the images per second of sampling."""
    generator = bare(run.networks["generator"]).eval()
    rng = torch.Generator().manual_seed(0)
    work = partial(sample_images, MODELS[name], generator, NUM_SAMPLES, run.data, rng)
    work()  # warm up
    speed = NUM_SAMPLES / spent_s(work)
    generator.train()
    return speed


def main() -> None:
    """Measure every model."""
    torch.set_num_threads(1)
    config = checked_config(
        yaml.safe_load((ROOT / "config/config.yaml").read_text()),
        ROOT,
    )
    data = synthetic_data(config)
    batch_size = config["generate"]["batch_size"]
    peer = begin(PEER, config, data)
    for name in [one for one in MODELS if one not in VOLUMETRIC]:  # they train on no single images
        run = begin(name, config, data)
        flops = count_flops(partial(take_steps, name, run, 1))
        take_steps(PEER, peer, 1)
        seconds = [
            [
                spent_s(partial(take_steps, n, r, STEPS_PER_ROUND)) / STEPS_PER_ROUND
                for n, r in ((name, run), (PEER, peer))
            ]
            for _ in range(NUM_ROUNDS)
        ]
        record(
            name=f"training_{name}",
            ratio=median(theirs / own for own, theirs in seconds),
            target=TARGETS.get(name, TARGET),
            unit="images per CPU-second of training, over DCGAN's",
            peer="our DCGAN",
            images_per_s=batch_size / median(own for own, _ in seconds),
            sampled_per_s=sampled_per_s(name, run),
            gflop_per_step=flops / 1e9,
        )


if __name__ == "__main__":
    main()
