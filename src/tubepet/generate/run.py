"""The interface of generators (`Model`), and the state of their training (`Run`).

`start` makes the state at step 0; `tubepet.generate.loop` takes the steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from tubepet.errors import InputError
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

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SAMPLE_CHUNK = 50  # images generated at once, which bounds the memory of sampling
ANCHOR_DECAY = 0.99  # per step, of the mean logits; Tseng et al. 2021, section 4
R1_EVERY = 16  # steps; lazy regularisation, Karras et al. 2020, arXiv:1912.04958, section 3.1

Config = Mapping[str, Any]
Networks = dict[str, Any]  # modules, or Fabric's wrappers, which hide their types
Inputs = dict[str, Tensor]  # of images, by name; on the CPU
Part = TypeVar("Part")


@dataclass
class Run:
    """A training in progress: its fixed inputs, and the state that a checkpoint must hold.

    Attributes
    ----------
    config : mapping
        Settings of the model, see `Task`.
    data : Data
        Training images.
    fabric : Fabric
        Device, precision and processes.
    networks : dict of module
        "generator", and "critic" and "extractor" where there is one.
    optimizers : dict of optimizer
    rng : torch.Generator
        The only source of random numbers, always on the CPU. It is the same in all processes: they
        draw for the whole batch and use the numbers of their rows.
    queues : dict of int64 tensor
        The rest of the current permutation of each image set.
    step : int
        Steps done.
    anchors : dict of scalar tensor
        "real" and "fake": moving averages of the mean logits, for LeCam.
    """

    config: Config
    data: Data
    fabric: "Fabric"
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
        """Return the process's rows of what was drawn for the whole batch, on its device."""
        return self.fabric.to_device(share(self.fabric, drawn))

    def noise(self, *shape: int) -> Tensor:
        """Return N(0, 1) numbers of this shape for each image of the batch."""
        return self.own(torch.randn(self.config["batch_size"], *shape, generator=self.rng))

    def transform(self, symmetries_only: bool = False) -> Transform:
        """Draw the augmentation of one batch, for its real and its generated images.

        A model without a critic would learn to generate shifts and cut squares. It gets
        `symmetries_only`, which the distribution of the slices has.
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
        """Return the LeCam and R1 penalties of this step, weighted, for the critic's loss.

        Parameters
        ----------
        critic : callable
            Images (B, 1, H, W) -> logits. It is the module from `bare`: a compiled one lacks the
            second derivative that R1 needs.
        real : tensor, shape (B, 1, H, W)
            Augmented real images.
        real_logits, fake_logits : tensor
            The critic's logits of this step's images.
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

    def update(self, name: str, loss: Tensor, *others: str) -> None:
        """Take one step of one or several networks' optimisers down the gradient of `loss`."""
        names = (name, *others)
        for name in names:
            self.optimizers[name].zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        for name in names:
            average_gradients(self.networks[name].parameters())
            self.optimizers[name].step()


def bare(network: Any) -> Any:
    """Return the module inside Fabric's wrapper."""
    return getattr(network, "module", network)


def needed(part: Part | None) -> Part:
    """Return a part of `Data` that the model needs; `ValueError` if the rules did not supply it."""
    if part is None:
        raise ValueError("data: got None, expected what tubepet.plan.models says the model needs")
    return part


class Model:
    """A kind of generator. Each file in `models` has a subclass; `models.catalogue` lists them.

    This class has the methods that most generators share. `tubepet.plan.models` lists what a model
    reads besides the positron slices.

    Attributes
    ----------
    name : str
        Name in config, folders and random streams.
    network : type
        The generator's module.
    argument_keys : tuple of str
        Settings that are constructor arguments of the generator, besides the size of the images.
    adam_betas : (float, float)
        Of both optimisers.
    is_fitted : bool
        Whether the model is fitted, without training steps.
    is_labelled : bool
        Whether images come with labels and for tubes that a user asks for. The network then has a
        `population`, see `tubepet.dataset.drawing`.
    memory_format : torch.memory_format
        Order of the networks' weights in memory; that of 2-D convolutions by default.
    why_no_graph : str
        Why the generator cannot be one ONNX graph; "" if it can.
    holds : mapping
        Content of the inputs of the graph, for those that are not N(0, 1).
    """

    name: ClassVar[str]
    network: ClassVar[type[nn.Module]]
    argument_keys: ClassVar[tuple[str, ...]] = ("latent_size", "channels", "output", "filter_px")
    adam_betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    is_fitted: ClassVar[bool] = False
    is_labelled: ClassVar[bool] = False
    memory_format: ClassVar[torch.memory_format] = torch.channels_last
    why_no_graph: ClassVar[str] = ""
    holds: ClassVar[Mapping[str, str]] = {}

    def generator_arguments(self, config: Config, data: Data) -> dict[str, Any]:
        """Return the constructor arguments of the generator, as JSON."""
        return {
            "image_size": data.real.image_size,
            **{key: config[key] for key in self.argument_keys},
        }

    def make_generator(self, arguments: Mapping[str, Any]) -> Any:
        """Return a fresh generator."""
        return self.network(**arguments)

    def make_critic(self, config: Config, data: Data) -> nn.Module | None:
        """Return a fresh critic; None for a model without one."""
        return None

    def make_networks(self, config: Config, data: Data) -> Networks:
        """Return the networks at step 0: "generator", and "critic" if there is one."""
        generator = self.make_generator(self.generator_arguments(config, data))
        critic = self.make_critic(config, data)
        return {"generator": generator} | ({} if critic is None else {"critic": critic})

    def make_optimizers(self, config: Config, networks: Networks) -> dict[str, Optimizer]:
        """Return the optimisers at step 0: Adam for all networks."""
        return {
            key: Adam(network.parameters(), lr=config["learning_rate"], betas=self.adam_betas)
            for key, network in networks.items()
        }

    def train_step(self, run: Run) -> dict[str, Tensor]:
        """Take one generator step (and the critic's); return scalars for the log."""
        raise NotImplementedError(f"{self.name}: is_fitted, expected no step")

    def fit(self, config: Config, data: Data) -> tuple[Any, pd.DataFrame]:
        """Fit the generator (if `is_fitted`); return it, and a row per round of the fit."""
        raise NotImplementedError(f"{self.name}: expected steps, not a fit")

    def draw_inputs(self, network: Any, num: int, data: Data, rng: torch.Generator) -> Inputs:
        """Return the random inputs of `num` images; by default z ~ N(0, I)."""
        return {"z": torch.randn(num, network.latent_size, generator=rng)}

    def make_images(self, network: Any, *inputs: Tensor) -> Tensor:
        """Return the images (B, 1, H, W), in [-1, 1], of inputs from `draw_inputs`."""
        return network(*inputs)

    def sample(self, network: Any, num: int, data: Data, rng: torch.Generator) -> Tensor:
        """Return generated images, shape (num, 1, H, W), in [-1, 1]."""
        device = next(network.parameters()).device
        images = []
        for start in range(0, num, SAMPLE_CHUNK):
            inputs = self.draw_inputs(network, min(SAMPLE_CHUNK, num - start), data, rng)
            on_device = (x.to(device) for x in inputs.values())
            images.append(self.make_images(network, *on_device).cpu())
        return torch.cat(images)

    def sample_labelled(
        self, network: Any, num: int, data: Data, rng: torch.Generator, wanted: Mapping[str, Any]
    ) -> tuple[Tensor, pd.DataFrame, NDArray[np.uint8]]:
        """Generate images with labels; by default there are none.

        Parameters
        ----------
        network, num, data, rng
            See `sample`.
        wanted : mapping
            Properties of the tubes to fix, for instance family and defect; the rest is drawn.

        Returns
        -------
        images : tensor, shape (num, 1, H, W)
            In [-1, 1].
        labels : DataFrame
            One row per image; no columns without labels.
        masks : uint8 array, shape (num, H, W), or (0, H, W) without labels
            1 where the defect is.

        Raises
        ------
        InputError
            If `wanted` has a property that the model cannot fix.
        """
        if wanted:
            raise InputError(
                f"{', '.join(wanted)}: model {self.name!r} cannot be asked for anything, expected "
                "none of these, or a model like 'surrogate'"
            )
        images = self.sample(network, num, data, rng)
        nothing = np.zeros((0, *images.shape[2:]), np.uint8)
        return images, pd.DataFrame(index=range(num)), nothing


@dataclass(frozen=True)
class Task:
    """A training: model, settings, data and seed.

    Attributes
    ----------
    model : Model
        Of `tubepet.generate.models.catalogue`.
    config : mapping
        Its settings, see `tubepet.plan.models.settings_of`.
    data : Data
        Training images.
    seed : int
        Of the run.
    """

    model: Model
    config: Config
    data: Data
    seed: int


def start(task: Task, fabric: "Fabric") -> Run:
    """Return the training at step 0: seeded weights, on the device, channels last.

    In bfloat16 on a GPU networks are compiled. Compiled code has no second derivatives, so
    penalties that need them use the modules inside (`bare`), in float32.
    """
    model, config = task.model, task.config
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(task.seed, "generate", model.name, "weights"))
        networks = model.make_networks(config, task.data)
    optimizers = model.make_optimizers(config, networks)
    for key, network in networks.items():
        share_batch_norms(network)
        network.to(memory_format=model.memory_format)
        # compiled first: Fabric's wrapper passes `compile` on to the module that it calls
        whole = torch.compile(network) if _is_compiled(config, fabric) else network
        networks[key], optimizers[key] = fabric.setup(whole, optimizers[key])
    rng = torch.Generator().manual_seed(derived_seed(task.seed, "generate", model.name, "steps"))
    return Run(config, task.data, fabric, networks, optimizers, rng)


def _is_compiled(config: Config, fabric: "Fabric") -> bool:
    return bool(fabric.device.type == "cuda" and config["precision"] == "bf16")
