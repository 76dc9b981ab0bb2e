"""What a training step may use, and what a model file must supply. The loop is in train.py."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from tubepet.gan.data import Data, Images, take

SAMPLE_CHUNK = 50  # images generated at once, which bounds the memory of sampling

Config = Mapping[str, Any]
Networks = dict[str, Any]  # modules, later in Fabric's wrapper, which hides their types


@dataclass
class Run:
    """A training in progress: everything that a checkpoint must hold, and the fixed inputs.

    Attributes
    ----------
    config : mapping
        See `tubepet.gan.train.train`.
    data : Data
        Training images.
    fabric : Fabric
        Device and precision.
    networks : dict of module
        "generator", and "critic" where there is one.
    optimizers : dict of optimizer
    rng : torch.Generator
        The only source of chance of the training, on the CPU whatever the device.
    queues : dict of int64 tensor
        What is left of the current shuffle of each image set (the position of the samplers).
    """

    config: Config
    data: Data
    fabric: Fabric
    networks: Networks
    optimizers: dict[str, Optimizer]
    rng: torch.Generator
    queues: dict[str, Tensor] = field(default_factory=dict)

    def next_batch(self, name: str, images: Images) -> tuple[Tensor, Tensor]:
        """Return the next training batch (B, 1, H, W) and its positions (B,)."""
        queue = self.queues.get(name, torch.empty(0, dtype=torch.int64))
        positions, self.queues[name] = take(queue, self.config["batch_size"], len(images), self.rng)
        return self.fabric.to_device(images.batch(positions)), positions

    def noise(self, *shape: int) -> Tensor:
        """Return N(0, 1) numbers on the run's device."""
        return self.fabric.to_device(torch.randn(*shape, generator=self.rng))

    def update(self, name: str, loss: Tensor) -> None:
        """Take one step of an optimiser down the gradient of `loss`."""
        self.optimizers[name].zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.optimizers[name].step()


class Model(Protocol):
    """One file per model supplies these; `tubepet.gan.models` lists the files."""

    def generator_arguments(self, config: Config, data: Data) -> dict[str, Any]:
        """Return what rebuilds the generator, as JSON."""
        ...

    def make_generator(self, arguments: Mapping[str, Any]) -> nn.Module:
        """Return a fresh generator."""
        ...

    def make_networks(self, config: Config, data: Data) -> Networks:
        """Return the networks at step 0."""
        ...

    def make_optimizers(self, config: Config, networks: Networks) -> dict[str, Optimizer]:
        """Return the optimisers at step 0."""
        ...

    def train_step(self, run: Run) -> dict[str, Tensor]:
        """Take one generator step (and the critic's); return scalars for the log."""
        ...

    def sample(self, generator: nn.Module, num: int, data: Data, rng: torch.Generator) -> Tensor:
        """Return generated images, shape (num, 1, H, W), in [-1, 1]."""
        ...
