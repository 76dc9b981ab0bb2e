"""From the drawing of a slice to the image that scanner and reconstruction would make of it.

    drawing -> surrogate (physics, fitted) -> gain and offset (learned) -> image
    distance from the tube's end -> memory -> gain of the surrogate's mean

The surrogate gives a first image with noise of the right strength and correlations. What it cannot
know of a drawing is how far the tube goes on: reconstruction with a resolution model overshoots
near the ends. An attention memory of the training slices tells it by how much. A small U-Net,
with fresh noise at every resolution, corrects it under a conditional patch critic, which sees the
image beside its drawing. The last layer is the filter that the reconstruction ends with, so the
generator cannot make spatial frequencies that no slice has.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn import functional

from tubepet import io
from tubepet.dataset.drawing import Drawings, draw_new, read_population
from tubepet.generate.data import Data
from tubepet.generate.layers.loss import ADVERSARIAL, frozen
from tubepet.generate.layers.mean_and_noise import MAX_FITTED, MeanAndNoise, fit_mean, fit_noise
from tubepet.generate.run import SAMPLE_CHUNK, Config, Inputs, Model, Networks, Run, bare, needed
from tubepet.training.processes import mean_of_processes

NUM_CHANNELS = 2  # of a drawing: fluid, expected
LEAK = 0.2
DARK = 0.01  # of the scale: the critic's second view is linear below, logarithmic above
MAX_SLOTS = 2000  # of the memory; evenly taken from more slices
MAX_GAIN = 2.0  # of a slice's total; real ones differ by some per cent
OFFSET = 0.1  # of the scale: what is added is small against what is multiplied
# Standard deviations of the kernel to choose from: from below the distance of two slices to where
# ends and middle of a tube are about the same.
KERNELS_MM = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)


class PlaceMemory(nn.Module):
    """Attention whose slots have a place as key and a number as value; nothing is learned.

    The score of a slot is the logarithm of a Gaussian kernel of its distance from the query, so
    that the context is the kernel regression of Nadaraya and Watson. Without slots it is 0.

    Parameters
    ----------
    num_slots : int

    References
    ----------
    Watson 1964, Sankhya A 26, 359; attention in this form: Zhang et al., Dive into Deep Learning
    (arXiv:2106.11342), section 11.2.
    """

    keys_mm: Tensor
    values: Tensor
    kernel_mm: Tensor

    def __init__(self, num_slots: int) -> None:
        super().__init__()
        self.register_buffer("keys_mm", torch.zeros(num_slots))
        self.register_buffer("values", torch.zeros(num_slots))
        self.register_buffer("kernel_mm", torch.ones(()))

    def forward(self, query_mm: Tensor) -> Tensor:
        """Return the context of each query, (B,) -> (B,)."""
        score = -((query_mm[:, None] - self.keys_mm) / self.kernel_mm).square() / 2
        return (score.softmax(dim=1) * self.values).sum(1)


def choose_kernel_mm(
    keys_mm: NDArray[np.float64], values: NDArray[np.float64], tubes: NDArray[np.str_]
) -> tuple[float, NDArray[np.float64]]:
    """Choose the kernel of a `PlaceMemory` by leaving tubes out.

    Parameters
    ----------
    keys_mm, values : array, shape (S,)
        Of the slots.
    tubes : array, shape (S,)
        The tube of each slot.

    Returns
    -------
    kernel_mm : float
        Of `KERNELS_MM`: whose contexts are nearest to the values, mean square, when no slot of a
        query's own tube is seen; with a single tube, the widest.
    contexts : array, shape (S,)
        What slots of other tubes say (with a single tube: all slots).
    """
    square_mm2 = np.square(keys_mm[:, None] - keys_mm)
    is_seen, first = tubes[:, None] != tubes, 0
    if not is_seen.any():
        is_seen, first = ~is_seen, -1
    found = []
    for kernel_mm in KERNELS_MM[first:]:
        score = np.where(is_seen, -square_mm2 / (2 * kernel_mm**2), -np.inf)
        contexts = softmax(score, axis=1) @ values
        found.append((float(np.square(contexts - values).mean()), kernel_mm, contexts))
    _, kernel_mm, contexts = min(found, key=lambda one: one[0])
    return kernel_mm, contexts


class Block(nn.Module):
    """Two 3x3 convolutions with leaky ReLU; one channel of fresh noise joins the input."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in + 1, channels_out, 3, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Conv2d(channels_out, channels_out, 3, padding=1),
            nn.LeakyReLU(LEAK),
        )

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """(B, C, H, W) and (B, 1, H, W) -> (B, channels_out, H, W)."""
        return self.layers(torch.cat([x, noise], dim=1))


class DrawingGenerator(nn.Module):
    """Mean and noise, and a U-Net of three resolutions that corrects it.

    Parameters
    ----------
    image_size : int
        Side in pixels, a multiple of 4.
    channels : int
        At full resolution; twice as many at each coarser one.
    filter_px : float
        Standard deviation of the last filter, a Gaussian.
    population : mapping
        JSON of the `Population` that new tubes are drawn from.
    num_slots : int
        Of the memory; 0: none.
    shuffle_contexts : bool
        Whether each drawing gets what the memory returns for its neighbour in the batch.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        filter_px: float,
        population: Mapping[str, Any],
        num_slots: int,
        shuffle_contexts: bool,
    ) -> None:
        super().__init__()
        self.population = read_population(population)
        self.image_size = image_size
        self.shuffle_contexts = shuffle_contexts
        self.memory = PlaceMemory(num_slots)
        self.surrogate = MeanAndNoise(image_size, filter_px)
        self.fine = Block(NUM_CHANNELS + 1, channels)
        self.middle = Block(channels, 2 * channels)
        self.coarse = Block(2 * channels, 2 * channels)
        self.middle_up = Block(4 * channels, 2 * channels)
        self.fine_up = Block(3 * channels, channels)
        self.out = nn.Conv2d(channels, 2, 3, padding=1)
        for parameter in self.out.parameters():  # the first image is the surrogate's
            nn.init.zeros_(parameter)

    def forward(self, drawing: Tensor, end_mm: Tensor, noise: list[Tensor]) -> Tensor:
        """Make images of drawings.

        Parameters
        ----------
        drawing : tensor, shape (B, 2, H, W)
            Fluid fractions, 0 to 1.
        end_mm : tensor, shape (B,)
            Distance of each slice from the nearer end of the fluid.
        noise : list of tensor
            See `draw_noise`.

        Returns
        -------
        tensor, shape (B, 1, H, W)
            In [-1, 1].
        """
        context = self.memory(end_mm)
        if self.shuffle_contexts:
            context = context.roll(1, dims=0)
        first = self.surrogate.unfiltered(drawing, noise[0], context.exp())
        fine = self.fine(torch.cat([drawing, first], dim=1), noise[1])
        middle = self.middle(functional.avg_pool2d(fine, 2), noise[2])
        coarse = self.coarse(functional.avg_pool2d(middle, 2), noise[3])
        middle = self.middle_up(torch.cat([middle, _doubled(coarse)], dim=1), noise[4])
        fine = self.fine_up(torch.cat([fine, _doubled(middle)], dim=1), noise[5])
        gain, offset = self.out(fine).split(1, dim=1)
        image = self.surrogate.filter(first * gain.exp() + OFFSET * offset)
        return 2 * image.clamp(0, 1) - 1

    def draw_noise(self, num: int, rng: torch.Generator) -> list[Tensor]:
        """Return the N(0, 1) maps of `num` images: the surrogate's, then one per block."""
        size = self.image_size
        sizes = (size, size, size // 2, size // 4, size // 2, size)
        return [torch.randn(num, 1, s, s, generator=rng) for s in sizes]

    def generate(self, drawing: Tensor, end_mm: Tensor, rng: torch.Generator) -> Tensor:
        """Make images of drawings with fresh noise."""
        device = self.out.weight.device
        noise = [n.to(device) for n in self.draw_noise(len(drawing), rng)]
        return self(drawing.to(device), end_mm.to(device), noise)


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")


class DrawingCritic(nn.Module):
    """Patch critic of an image beside its drawing: each output sees 23 x 23 pixels.

    No normalisation: the batch is a mixture of tubes. The image is shown a second time on a scale
    that spreads the dark, where a slice has structure that is small against the scale.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [2 + NUM_CHANNELS, channels, 2 * channels, 4 * channels]
        strides = (1, 2, 2)
        self.hidden = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(widths[i], widths[i + 1], 4 if s == 2 else 3, s, padding=1),
                nn.LeakyReLU(LEAK),
            )
            for i, s in enumerate(strides)
        )
        self.judge = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, pair: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, H, W), image and drawing in [-1, 1] -> logits (B, 1, h, w), hidden layers."""
        unit = (pair[:, :1] + 1) / 2
        dark = 2 * torch.log1p(unit / DARK) / math.log1p(1 / DARK) - 1
        layers = []
        x = torch.cat([dark, pair], dim=1)
        for block in self.hidden:
            x = block(x)
            layers.append(x)
        return self.judge(x), layers


def _slots(data: Data) -> NDArray[np.intp]:
    return io.evenly(data.real.rows, MAX_SLOTS)


def fit(generator: DrawingGenerator, data: Data) -> None:
    """Fit surrogate and memory to training slices, evenly taken from all.

    The mean comes first; then the memory, whose values say by what it is wrong in total; then the
    noise, with what slots of other tubes say of each slice: its own slot knows its noise.
    """
    drawn, slots = needed(data.drawn), _slots(data)
    filter_px = drawn.population.grid.filter_px
    fitted = io.evenly(np.arange(len(slots)), MAX_FITTED)
    images, drawings = _unit(data, slots[fitted]), np.asarray(drawn.of(slots[fitted]), np.float64)
    mean = fit_mean(images, drawings, filter_px)
    contexts = np.zeros(len(slots))
    memory = generator.memory
    if len(memory.values) > 0:
        keys_mm, values = drawn.end_mm[slots], _log_gains(data, slots, mean)
        kernel_mm, contexts = choose_kernel_mm(keys_mm, values, drawn.tube[slots])
        memory.keys_mm.copy_(torch.from_numpy(keys_mm))
        memory.values.copy_(torch.from_numpy(values))
        memory.kernel_mm.fill_(kernel_mm)
    gain = torch.from_numpy(np.exp(contexts[fitted])).float()
    noise = fit_noise(images, drawings, filter_px, mean, gain)
    generator.surrogate.load_fit({"mean": mean} | noise)


def _unit(data: Data, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return slices in units of the scale, clipped to it as the networks see them."""
    return replace(data.real, rows=rows).exact()


def _log_gains(data: Data, rows: NDArray[np.intp], mean: Tensor) -> NDArray[np.float64]:
    """Return the logarithm of each slice's total over that which the mean has; 0 if it has none."""
    drawn = needed(data.drawn)
    with torch.device("cpu"):
        surrogate = MeanAndNoise(data.real.image_size, drawn.population.grid.filter_px)
    surrogate.load_fit({"mean": mean})
    gains = []
    for start in range(0, len(rows), SAMPLE_CHUNK):
        part = rows[start : start + SAMPLE_CHUNK]
        drawing, one = torch.from_numpy(drawn.of(part)), torch.ones(len(part), device="cpu")
        expected = surrogate.filter(surrogate.expected(drawing, one)).clamp(min=0)
        totals = expected.sum((1, 2, 3)).double().numpy()
        ratio = _unit(data, part).sum((1, 2)) / np.where(totals > 0, totals, np.inf)
        gains.append(np.where(totals > 0, ratio, 1.0))
    return np.asarray(np.log(np.clip(np.concatenate(gains), 1 / MAX_GAIN, MAX_GAIN)))


def _draw_new(
    network: Any, num: int, rng: torch.Generator, wanted: Mapping[str, Any]
) -> tuple[Drawings, pd.DataFrame]:
    seed = int(torch.randint(2**31, (1,), generator=rng))
    return draw_new(network.population, num, np.random.default_rng(seed), wanted)


def _as_inputs(drawings: Drawings) -> Inputs:
    """Return what a generator sees of drawings, shapes (n, 2, H, W) and (n,)."""
    return {
        "drawing": torch.from_numpy(np.stack([drawings.fluid, drawings.expected], axis=1)),
        "end_mm": torch.from_numpy(drawings.end_mm).float(),
    }


class Surrogate(Model):
    """The only one whose images have labels: it can be asked for a tube."""

    name = "surrogate"
    network = DrawingGenerator
    argument_keys = ("channels", "shuffle_contexts")
    adam_betas = (0.5, 0.99)
    is_labelled = True
    holds: ClassVar[Mapping[str, str]] = {
        "drawing": "fluid fractions, 0 to 1",
        "end_mm": "distance from the nearer end of the fluid, mm",
    }

    def generator_arguments(self, config: Config, data: Data) -> dict[str, Any]:
        """Return the constructor arguments of `DrawingGenerator`."""
        population = needed(data.drawn).population
        return super().generator_arguments(config, data) | {
            "filter_px": population.grid.filter_px,
            "population": asdict(population),
            "num_slots": len(_slots(data)) if config["memory"] else 0,
        }

    def make_critic(self, config: Config, data: Data) -> DrawingCritic:
        """Return a fresh critic."""
        return DrawingCritic(config["disc_channels"])

    def make_networks(self, config: Config, data: Data) -> Networks:
        """Return both, the generator fitted to the slices as far as it can be."""
        networks = super().make_networks(config, data)
        fit(networks["generator"], data)
        return networks

    def train_step(self, run: Run) -> dict[str, Tensor]:
        """One step of the critic, then one of the generator, on drawings of the real batch.

        Real and generated images share their drawings, so the mean of the critic's features over
        the batch must agree: feature matching (Salimans et al. 2016, arXiv:1606.03498, eq. 3.1) of
        the statistics, not of single images, whose noise no generator can know.
        """
        config = run.config
        generator, critic = run.networks["generator"], run.networks["critic"]
        loss = ADVERSARIAL[config["loss"]]

        real, positions = run.next_batch("real", run.data.real)
        drawn, rows = needed(run.data.drawn), run.data.real.rows[positions.numpy()]
        drawing = run.fabric.to_device(torch.from_numpy(drawn.of(rows)))
        end_mm = run.fabric.to_device(drawn.places(rows))
        transform = run.transform()
        noise = [run.own(n) for n in bare(generator).draw_noise(config["batch_size"], run.rng)]
        shown = 2 * drawing - 1
        real_pair = transform(torch.cat([real, shown], dim=1))
        fake_pair = transform(torch.cat([generator(drawing, end_mm, noise), shown], dim=1))

        real_logits, real_layers = critic(real_pair)
        fake_logits, _ = critic(fake_pair.detach())
        critic_loss = loss.critic(real_logits, fake_logits)
        penalty = run.regularisation(
            lambda pair: bare(critic)(pair)[0], real_pair, real_logits, fake_logits
        )
        run.update("critic", critic_loss + penalty)

        with frozen(critic):
            fake_logits, fake_layers = critic(fake_pair)
            adversarial = loss.generator(fake_logits)
            matching = torch.stack(
                [
                    mean_of_processes(r.detach().mean((0, 2, 3)) - f.mean((0, 2, 3))).abs().mean()
                    for r, f in zip(real_layers, fake_layers, strict=True)
                ]
            ).sum()
            run.update("generator", adversarial + config["matching_weight"] * matching)
        return {
            "critic_loss": critic_loss,
            "penalty": penalty,
            "generator_loss": adversarial,
            "matching_loss": matching,
            "critic_real": real_logits.mean(),
            "critic_fake": fake_logits.mean(),
        }

    def draw_inputs(self, network: Any, num: int, data: Data, rng: torch.Generator) -> Inputs:
        """Return drawings of new tubes, their places, and fresh noise."""
        drawings, _ = _draw_new(network, num, rng, {})
        maps = {f"noise_{i}": noise for i, noise in enumerate(network.draw_noise(num, rng))}
        return _as_inputs(drawings) | maps

    def make_images(self, network: Any, *inputs: Tensor) -> Tensor:
        """Make images of drawings."""
        drawing, end_mm, *noise = inputs
        return network(drawing, end_mm, noise)

    def sample(self, network: Any, num: int, data: Data, rng: torch.Generator) -> Tensor:
        """Generate slices of new tubes, drawn as those of the dataset."""
        return self.sample_labelled(network, num, data, rng, {})[0]

    def sample_labelled(
        self, network: Any, num: int, data: Data, rng: torch.Generator, wanted: Mapping[str, Any]
    ) -> tuple[Tensor, pd.DataFrame, NDArray[np.uint8]]:
        """Generate images of new tubes, each with its labels.

        The drawing of a tube costs milliseconds and no simulation. What is true of the drawing is
        true of the image. `wanted` is what `tubepet.dataset.drawing.draw_new` can be asked for.
        """
        drawings, labels = _draw_new(network, num, rng, wanted)
        chunks = zip(*(x.split(SAMPLE_CHUNK) for x in _as_inputs(drawings).values()), strict=True)
        images = [network.generate(*chunk, rng).cpu() for chunk in chunks]
        return torch.cat(images), labels, drawings.defect
