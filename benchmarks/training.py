"""Speed of a step of the paper's model against our DCGAN's: the price of memory and dense blocks.

Both at the sizes of config/config.yaml, on one thread, in turn, on random data: the time of a step
does not depend on what the images show.
"""

import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import yaml
from record import record

from tubepet.device import make_fabric
from tubepet.gan.data import Data, ct_images, positron_images
from tubepet.gan.models import MODELS
from tubepet.gan.run import Run
from tubepet.gan.train import start
from tubepet.pretrain.vae import ConvVAE

ROOT = Path(__file__).parent.parent
NUM_SLICES = 300
NUM_ROUNDS = 12
STEPS_PER_ROUND = 3


def begin(name: str, config: dict, data: Data) -> Run:
    section = config["gan"]
    settings = section | config["pretrain"] | section[name]
    return start(MODELS[name], name, settings, data, make_fabric(), seed=0)


def seconds_per_step(name: str, run: Run) -> float:
    begun = time.perf_counter()
    for _ in range(STEPS_PER_ROUND):
        MODELS[name].train_step(run)
    return (time.perf_counter() - begun) / STEPS_PER_ROUND


def main() -> None:
    torch.set_num_threads(1)
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    size, pretrain = config["reconstruct"]["num_pixels"], config["pretrain"]
    num_features = sum(config["features"][k] for k in ("num_components", "pcanet_components"))
    rng = np.random.default_rng(0)
    slices = rng.uniform(0, 1, (NUM_SLICES, size, size)).astype(np.float32)
    everything = np.ones(NUM_SLICES, bool)
    data = Data(
        real=positron_images(slices, everything, 1.0),
        ct=ct_images(slices, everything, (0.0, 1.0)),
        vae=ConvVAE(size, pretrain["latent_size"], pretrain["channels"]),
        bank=torch.randn(NUM_SLICES, num_features),
    )
    runs = {name: begin(name, config, data) for name in ("paper", "dcgan")}
    for name, run in runs.items():
        seconds_per_step(name, run)  # warm up
    # side by side, so that a busy moment of the machine hits both
    rounds = [{n: seconds_per_step(n, run) for n, run in runs.items()} for _ in range(NUM_ROUNDS)]
    ratio = median(r["dcgan"] / r["paper"] for r in rounds)
    record(
        name="gan_step", ratio=ratio, target=0.25, unit="seconds per step, DCGAN / paper",
        peer="our DCGAN",
    )  # fmt: skip


if __name__ == "__main__":
    main()
