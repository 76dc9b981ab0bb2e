"""Train a network on pairs of slices: L = L1 + adversarial_weight (L_GAN + L_APG).

L_APG compares the discriminator's hidden layers for each output with those for its own long slice
(docs/model.md A12, A18). All networks get as many floating point operations as the plain one. If a
step costs more, there are fewer steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam
from torch.utils.flop_counter import FlopCounterMode

from tubepet.enhance.network import Enhancer
from tubepet.enhance.pairs import Pairs
from tubepet.enhance.quality import enhanced, psnr
from tubepet.errors import InputError
from tubepet.generate.data import take
from tubepet.generate.layers.augment import draw_transform
from tubepet.generate.layers.loss import ADVERSARIAL, attention_perceptual, frozen
from tubepet.generate.layers.patch_critic import PatchDiscriminator
from tubepet.logs import Bar, log
from tubepet.rng import derived_seed
from tubepet.training.devices import make_fabric

NUM_LOG_ROWS = 15
ADAM_BETAS = (0.5, 0.999)  # of the critic, as in generate.paper


@dataclass(frozen=True)
class Variant:
    """How a network differs from the plain one."""

    use_memory: bool = False
    is_adversarial: bool = False


VARIANTS = {
    "plain": Variant(),
    "memory": Variant(use_memory=True),
    "adversarial": Variant(is_adversarial=True),
    "attention_gan": Variant(use_memory=True, is_adversarial=True),
}


@dataclass(frozen=True)
class Trained:
    """The result of a training: weights, constructor arguments, curves, and facts (JSON)."""

    weights: dict[str, Tensor]
    arguments: dict[str, Any]
    curves: pd.DataFrame
    facts: dict[str, Any]


class Trainer:
    """Networks and optimisers of one variant, on a device."""

    def __init__(
        self, variant: Variant, config: Mapping[str, Any], image_size: int, seed: int
    ) -> None:
        self.fabric = make_fabric()
        self.weight = config["adversarial_weight"] if variant.is_adversarial else 0.0
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network: nn.Module = Enhancer(config["channels"], variant.use_memory)
            critic: nn.Module = PatchDiscriminator(config["channels"], image_size)
        rate = config["learning_rate"]
        self.network, self.optimizer = self.fabric.setup(
            network, Adam(network.parameters(), lr=rate)
        )
        self.critic, self.critic_optimizer = self.fabric.setup(
            critic, Adam(critic.parameters(), lr=rate, betas=ADAM_BETAS)
        )

    def step(self, short: Tensor, long: Tensor) -> Tensor:
        """Take one step on a batch (B, 1, H, W); return the L1 distance."""
        made = self.network(short)
        distance = functional.l1_loss(made, long)
        total = distance
        if self.weight > 0:
            total = total + self.weight * self._adversarial(2 * made - 1, 2 * long - 1)
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(total)
        self.optimizer.step()
        return distance.detach()

    def _adversarial(self, made: Tensor, long: Tensor) -> Tensor:
        """Take a step of the critic; return L_GAN + L_APG for the network's step."""
        loss = ADVERSARIAL["bce"]
        real_logits, real_layers = self.critic(long)
        critic_loss = loss.critic(real_logits, self.critic(made.detach())[0])
        self.critic_optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(critic_loss)
        self.critic_optimizer.step()
        with frozen(self.critic):
            made_logits, made_layers = self.critic(made)
        perceptual = attention_perceptual([x.detach() for x in real_layers], made_layers)
        return loss.generator(made_logits) + perceptual


def operations_per_step(name: str, config: Mapping[str, Any], image_size: int) -> int:
    """Return the floating point operations of one step of a variant."""
    trainer = Trainer(VARIANTS[name], config, image_size, seed=0)
    batch = trainer.fabric.to_device(torch.rand(config["batch_size"], 1, image_size, image_size))
    with FlopCounterMode(display=False) as counter:
        trainer.step(batch, batch)
    return counter.get_total_flops()


def _on(pairs: Pairs, network: nn.Module) -> float:
    """Return the mean PSNR of pairs in dB; NaN without any."""
    if len(pairs) == 0:
        return float("nan")
    made = enhanced(network, pairs.short)
    return float(np.mean([psnr(*both) for both in zip(made, pairs.long, strict=True)]))


def train(
    name: str, config: Mapping[str, Any], train_pairs: Pairs, val_pairs: Pairs, seed: int
) -> Trained:
    """Train one variant.

    Parameters
    ----------
    name : str
        A name of `VARIANTS`.
    config : mapping
        channels, num_steps, batch_size, learning_rate, adversarial_weight of section `enhance`.
    train_pairs, val_pairs : Pairs
        Pairs to train on, and pairs for the log, which may be empty.
    seed : int
        The run's seed.

    Raises
    ------
    InputError
        If there are fewer pairs than a batch, the size of slices is no multiple of 8, or the loss
        is not finite.
    """
    batch_size, size = config["batch_size"], train_pairs.short.shape[-1]
    if len(train_pairs) < batch_size:
        raise InputError(
            f"enhance.batch_size: got {batch_size}, expected at most {len(train_pairs)}, the "
            "number of training slices"
        )
    if size % 8:
        raise InputError(f"reconstruct.num_pixels: got {size}, expected a multiple of 8 (enhance)")
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    torch.use_deterministic_algorithms(True, warn_only=True)
    operations = {n: operations_per_step(n, config, size) for n in ("plain", name)}
    num_steps = max(round(config["num_steps"] * operations["plain"] / operations[name]), 1)
    trainer = Trainer(VARIANTS[name], config, size, derived_seed(seed, "enhance", name, "weights"))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(trainer.optimizer.optimizer, num_steps)
    rng = torch.Generator().manual_seed(derived_seed(seed, "enhance", "steps"))
    queue = torch.empty(0, dtype=torch.int64)
    rows = []
    for step in Bar(range(1, num_steps + 1), desc=name):
        positions, queue = take(queue, batch_size, len(train_pairs), rng)
        transform = draw_transform("dihedral", batch_size, size, rng)
        batch = [
            trainer.fabric.to_device(
                transform(torch.from_numpy(images[positions.numpy()])[:, None])
            )
            for images in (train_pairs.short, train_pairs.long)
        ]
        distance = float(trainer.step(*batch))
        schedule.step()
        if not np.isfinite(distance):
            raise InputError(
                f"enhance: the L1 distance of {name} is {distance} at step {step}, expected a "
                "finite number; try a lower learning_rate"
            )
        if step % -(-num_steps // NUM_LOG_ROWS) == 0 or step == num_steps:
            rows.append({"step": step, "l1": distance, "val_psnr": _on(val_pairs, trainer.network)})
            log.info("%s: step %d, L1 %.4f, PSNR on val %.2f dB", name, *rows[-1].values())
    facts = {
        "network": name,
        "num_steps": num_steps,
        "operations_per_step": operations[name],
        "num_parameters": sum(p.numel() for p in trainer.network.parameters()),
    }
    bare = trainer.network.module
    weights = {k: v.detach().cpu().contiguous() for k, v in bare.state_dict().items()}
    arguments = {"channels": config["channels"], "use_memory": VARIANTS[name].use_memory}
    return Trained(weights, arguments, pd.DataFrame(rows), facts)
