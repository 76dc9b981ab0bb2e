"""What a training step may use, what a model file must supply, and step 0. The loop: train.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer

from tubepet.generate.data import Data, Images, take
from tubepet.generate.layers.augment import Transform, draw_transform
from tubepet.generate.layers.loss import lecam, r1_penalty
from tubepet.rng import derived_seed
from tubepet.training.processes import (
    average_gradients,
    mean_of_processes,
    share,
    share_batch_norms,
)

SAMPLE_CHUNK = 50  # images generated at once, which bounds the memory of sampling
ANCHOR_DECAY = 0.99  # per step, of the mean logits; Tseng et al. 2021, section 4
R1_EVERY = 16  # steps; lazy regularisation, Karras et al. 2020, arXiv:1912.04958, section 3.1

Config = Mapping[str, Any]
Networks = dict[str, Any]  # modules, later in Fabric's wrapper, which hides their types


@dataclass
class Run:
    """A training in progress: everything that a checkpoint must hold, and the fixed inputs.

    Attributes
    ----------
    config : mapping
        See `tubepet.generate.loop.train`.
    data : Data
        Training images.
    fabric : Fabric
        Device, precision and processes.
    networks : dict of module
        "generator", and "critic" where there is one.
    optimizers : dict of optimizer
    rng : torch.Generator
        The only source of chance of the training, on the CPU whatever the device; the same in all
        processes, which draw for the whole batch and use what belongs to their rows.
    queues : dict of int64 tensor
        What is left of the current shuffle of each image set (the position of the samplers).
    step : int
        Steps done.
    anchors : dict of scalar tensor
        "real" and "fake": moving averages of the mean logits, for LeCam.
    """

    config: Config
    data: Data
    fabric: Fabric
    networks: Networks
    optimizers: dict[str, Optimizer]
    rng: torch.Generator
    queues: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    anchors: dict[str, Tensor] = field(default_factory=dict)

    def next_batch(self, name: str, images: Images) -> tuple[Tensor, Tensor]:
        """Return the next training batch (B, 1, H, W) and its positions (B,)."""
        queue = self.queues.get(name, torch.empty(0, dtype=torch.int64))
        drawn, self.queues[name] = take(queue, self.config["batch_size"], len(images), self.rng)
        positions = share(self.fabric, drawn)
        return self.fabric.to_device(images.batch(positions)), positions

    def own(self, drawn: Tensor) -> Tensor:
        """Return what was drawn for the process's rows of the batch, on its device."""
        return self.fabric.to_device(share(self.fabric, drawn))

    def noise(self, *shape: int) -> Tensor:
        """Return N(0, 1) numbers of this shape for each image of the batch."""
        return self.own(torch.randn(self.config["batch_size"], *shape, generator=self.rng))

    def transform(self, symmetries_only: bool = False) -> Transform:
        """Draw the augmentation of one batch; use it for the real and the generated images.

        A model without a critic learns what it is shown: no shifts and no cut squares for it, only
        the symmetries, which the distribution of the slices really has.
        """
        augment = self.config["augment"]
        if symmetries_only and augment == "diffaug":
            augment = "dihedral"
        size, num = self.data.real.image_size, self.config["batch_size"]
        drawn = draw_transform(augment, num, size, self.rng)
        parts = (drawn.source, drawn.is_outside, drawn.is_cut)
        return Transform(*(None if part is None else self.own(part) for part in parts))

    def regularisation(
        self,
        critic: Callable[[Tensor], Tensor],
        real: Tensor,
        real_logits: Tensor,
        fake_logits: Tensor,
    ) -> Tensor:
        """Return what `lecam_weight` and `r1_weight` add to the critic's loss of this step.

        Parameters
        ----------
        critic : callable
            Images (B, 1, H, W) -> logits, the bare module (`bare`): a compiled one has no second
            derivative, which R1 needs.
        real : tensor, shape (B, 1, H, W)
            Augmented real images.
        real_logits, fake_logits : tensor
            What the critic said of this step's images.
        """
        total = torch.zeros((), device=real.device)
        if self.config["lecam_weight"] > 0:
            means = {"real": real_logits.detach().mean(), "fake": fake_logits.detach().mean()}
            for side, mean in means.items():
                mean = mean_of_processes(mean)
                self.anchors[side] = torch.lerp(mean, self.anchors.get(side, mean), ANCHOR_DECAY)
            penalty = lecam(real_logits, fake_logits, self.anchors["real"], self.anchors["fake"])
            total = total + self.config["lecam_weight"] * penalty
        if self.config["r1_weight"] > 0 and self.step % R1_EVERY == 0:
            total = total + R1_EVERY * self.config["r1_weight"] * r1_penalty(critic, real)
        return total

    def update(self, name: str, loss: Tensor) -> None:
        """Take one step of an optimiser down the gradient of `loss`."""
        self.optimizers[name].zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        average_gradients(self.networks[name].parameters())
        self.optimizers[name].step()


def bare(network: Any) -> Any:
    """Return the module inside Fabric's wrapper."""
    return getattr(network, "module", network)


class Model(Protocol):
    """One file per model supplies these; `tubepet.generate.models.catalogue` lists the files."""

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


def start(model: Model, name: str, config: Config, data: Data, fabric: Fabric, seed: int) -> Run:
    """Return the training at step 0: seeded weights, on the device, channels last.

    In bfloat16 on a GPU the networks are compiled too. Penalties with second derivatives, which
    compiled code does not have, use the modules inside (`bare`), in float32.
    """
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(seed, "gan", name, "weights"))
        networks = model.make_networks(config, data)
    optimizers = model.make_optimizers(config, networks)
    for key, network in networks.items():
        share_batch_norms(network)
        network.to(memory_format=torch.channels_last)
        # compiled before, not after: Fabric's wrapper hands `compile` on to the module it calls
        whole = torch.compile(network) if _is_compiled(config, fabric) else network
        networks[key], optimizers[key] = fabric.setup(whole, optimizers[key])
    rng = torch.Generator().manual_seed(derived_seed(seed, "gan", name, "steps"))
    return Run(config, data, fabric, networks, optimizers, rng)


def _is_compiled(config: Config, fabric: Fabric) -> bool:
    return bool(fabric.device.type == "cuda" and config["precision"] == "bf16")
