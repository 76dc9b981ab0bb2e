"""EDM, a small diffusion model, a rival of the paper's (Karras et al. 2022, arXiv:2206.00364).

As published, it has a preconditioned denoiser, log-normal noise levels in training, and
deterministic sampling by Heun's method. Three choices suit small images and one CPU: each 2 x 2
square of pixels enters as four channels, the U-Net has three levels, and samples take few steps
over a shorter range of noise levels. Augmentation is by symmetries alone, because samples show all
augmentations, and slices have the symmetries.

Noise levels are standard deviations in units of [-1, 1]. Equations are numbered as in table 1 and
algorithm 1 of the source.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tubepet.generate.data import Data, Images
from tubepet.generate.layers import mirror_filter as mirrored
from tubepet.generate.run import Config, Inputs, Model, Run

LOG_SIGMA_MEAN, LOG_SIGMA_STD = -1.2, 1.2  # of ln sigma in training; table 1
# Of the sampling levels, eq. 5. Table 1 has 0.002 to 80. Slices have too little detail and contrast
# for both ends of that range; without them few steps are still fine ones.
SIGMA_MIN, SIGMA_MAX, RHO = 0.01, 40.0, 7.0
REMOVED = 0.03  # of the amplitude; frequencies of which the reconstruction's filter leaves less
PATCH = 2  # pixels
WIDENING = (1, 2, 2)  # channels of the levels
GROUP_CHANNELS = 8  # channels per normalisation group
STATISTICS_ROWS = 2048  # most slices, evenly spaced, for mean and standard deviation of the data


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return c_skip, c_out, c_in and c_noise of table 1 for noise levels of any shape."""
    total = (sigma**2 + sigma_data**2).sqrt()
    return (sigma_data / total) ** 2, sigma * sigma_data / total, 1 / total, sigma.log() / 4


def noise_levels(num_steps: int) -> list[float]:
    """Return sigma_0 > .. > sigma_{N-1}, and 0 (eq. 5)."""
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    shares = (i / (num_steps - 1) for i in range(num_steps))
    return [*((high + share * (low - high)) ** RHO for share in shares), 0.0]


def heun(
    denoise: Callable[[Tensor, float], Tensor], noise: Tensor, levels: Sequence[float]
) -> Tensor:
    """Solve the probability flow ODE from pure noise to an image (algorithm 1).

    Parameters
    ----------
    denoise : callable
        D(x; sigma): noisy images and their noise level -> expected clean images.
    noise : tensor, shape (B, ...)
        N(0, 1).
    levels : sequence of float
        Decreasing noise levels, the last one 0.
    """
    x = levels[0] * noise
    for now, then in pairwise(levels):
        slope = (x - denoise(x, now)) / now
        end = x + (then - now) * slope
        if then > 0:  # second order, but not for the last step
            end_slope = (end - denoise(end, then)) / then
            end = x + (then - now) * (slope + end_slope) / 2
        x = end
    return x


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity. The noise level sets scale and shift between them."""

    def __init__(self, channels_in: int, channels_out: int, embedding_size: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(channels_in // GROUP_CHANNELS, channels_in)
        self.first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.affine = nn.Linear(embedding_size, 2 * channels_out)
        self.norm = nn.GroupNorm(channels_out // GROUP_CHANNELS, channels_out)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        nn.init.zeros_(self.second.weight)  # the block starts as the identity
        is_same = channels_in == channels_out
        self.skip = nn.Identity() if is_same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, H, W), (B, E) -> (B, C', H, W)."""
        scale, shift = self.affine(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.first(functional.silu(self.norm_in(x)))
        h = self.second(functional.silu(self.norm(h) * (1 + scale) + shift))
        return self.skip(x) + h


class UNet(nn.Module):
    """F(x; c_noise): a U-Net of patches, with a residual block per level on the way down and up."""

    frequencies: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels * w for w in WIDENING]
        size = 4 * channels
        self.register_buffer("frequencies", torch.linspace(0, math.log(64.0), channels // 2).exp())
        self.embed = nn.Sequential(nn.Linear(channels, size), nn.SiLU(), nn.Linear(size, size))
        self.enter = nn.Conv2d(PATCH**2, channels, 3, padding=1)
        self.down = nn.ModuleList(
            ResidualBlock(a, b, size) for a, b in zip([channels, *widths], widths, strict=False)
        )
        self.middle = ResidualBlock(widths[-1], widths[-1], size)
        self.up = nn.ModuleList(
            ResidualBlock(below + width, width, size)
            for below, width in zip([widths[-1], *widths[:0:-1]], widths[::-1], strict=True)
        )
        self.leave = nn.Sequential(
            nn.GroupNorm(channels // GROUP_CHANNELS, channels),
            nn.SiLU(),
            nn.Conv2d(channels, PATCH**2, 3, padding=1),
        )

    def forward(self, image: Tensor, noise_label: Tensor) -> Tensor:
        """(B, 1, H, W), (B,) -> (B, 1, H, W)."""
        angle = noise_label[:, None] * self.frequencies
        embedding = functional.silu(self.embed(torch.cat([angle.cos(), angle.sin()], dim=1)))
        x = self.enter(functional.pixel_unshuffle(image, PATCH))
        kept = []
        for i, block in enumerate(self.down):
            x = block(functional.avg_pool2d(x, 2) if i > 0 else x, embedding)
            kept.append(x)
        x = self.middle(x, embedding)
        for i, block in enumerate(self.up):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest") if i > 0 else x
            x = block(torch.cat([x, kept.pop()], dim=1), embedding)
        return functional.pixel_shuffle(self.leave(x), PATCH)


class Denoiser(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), about the mean of the data (eq. 7).

    Parameters
    ----------
    image_size : int
        Side in pixels, a multiple of 8.
    channels : int
        Channels of the first level, a multiple of 8.
    mean, sigma_data : float
        Mean and standard deviation of the training slices' pixels, in [-1, 1].
    num_sampling_steps : int
        N of algorithm 1; a sample costs 2 N - 1 evaluations.
    output, filter_px
        See `layers.output`. With "activity" samples lose the frequencies that no slice has.
    """

    band: Tensor
    cosines: Tensor

    def __init__(
        self,
        image_size: int,
        channels: int,
        mean: float,
        sigma_data: float,
        num_sampling_steps: int,
        output: str,
        filter_px: float,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.mean = mean
        self.sigma_data = sigma_data
        self.num_sampling_steps = num_sampling_steps
        self.net = UNet(channels)
        transfer = mirrored.gaussian_transfer(image_size, filter_px)
        is_kept = (transfer > REMOVED) | (output == "tanh")
        self.register_buffer("band", mirrored.buffer(is_kept))
        self.register_buffer("cosines", mirrored.buffer(mirrored.cosines(image_size)))

    def forward(self, noisy: Tensor, sigma: Tensor) -> Tensor:
        """Noisy images (B, 1, H, W) less the mean, levels (B,) -> expected clean ones."""
        c_skip, c_out, c_in, c_noise = preconditioning(sigma, self.sigma_data)
        c_skip, c_out, c_in = (c[:, None, None, None] for c in (c_skip, c_out, c_in))
        return c_skip * noisy + c_out * self.net(c_in * noisy, c_noise)

    def in_band(self, images: Tensor) -> Tensor:
        """Remove from images (B, 1, H, W) the frequencies where `band` (H, W) is 0."""
        return mirrored.apply(images, self.band, self.cosines)


def data_statistics(images: Images) -> tuple[float, float]:
    """Return mean and standard deviation of the pixels in [-1, 1]."""
    num = min(STATISTICS_ROWS, len(images))
    positions = np.linspace(0, len(images) - 1, num).astype(np.int64)
    batch = images.batch(torch.from_numpy(positions)).double()
    return float(batch.mean()), float(batch.std())


class EDM(Model):
    """EDM: the generator is the denoiser, and there is no critic."""

    name = "edm"
    network = Denoiser
    argument_keys = ("channels", "num_sampling_steps", "output", "filter_px")
    why_no_graph = "a sample of it takes many passes through its network, not one"

    def generator_arguments(self, config: Config, data: Data) -> dict[str, Any]:
        """Return the constructor arguments of `Denoiser`."""
        mean, sigma_data = data_statistics(data.real)
        arguments = super().generator_arguments(config, data)
        return arguments | {"mean": mean, "sigma_data": sigma_data}

    def train_step(self, run: Run) -> dict[str, Tensor]:
        """Step down E lambda(sigma) || D(y + n; sigma) - y ||^2, a mean over pixels (eq. 8)."""
        denoiser = run.networks["generator"]
        real = run.transform(symmetries_only=True)(run.next_batch("real", run.data.real)[0])
        clean = real - denoiser.mean
        sigma = torch.exp(LOG_SIGMA_MEAN + LOG_SIGMA_STD * run.noise())
        noise = run.noise(*real.shape[1:]) * sigma[:, None, None, None]
        weight = (sigma**2 + denoiser.sigma_data**2) / (sigma * denoiser.sigma_data) ** 2
        error = (denoiser(clean + noise, sigma) - clean).square().mean((1, 2, 3))
        loss = (weight * error).mean()
        run.update("generator", loss)
        return {"denoising_loss": loss}

    def draw_inputs(self, network: Any, num: int, data: Data, rng: torch.Generator) -> Inputs:
        """Return noise, (num, 1, H, W)."""
        side = network.image_size
        return {"noise": torch.randn(num, 1, side, side, generator=rng)}

    def make_images(self, network: Any, *inputs: Tensor) -> Tensor:
        """Solve the ODE from the noise; limit the result to frequencies and range of the data."""
        (noise,) = inputs

        def denoise(x: Tensor, sigma: float) -> Tensor:
            return network(x, torch.full((len(x),), sigma, device=x.device))

        clean = heun(denoise, noise, noise_levels(network.num_sampling_steps))
        return (network.in_band(clean) + network.mean).clamp(-1, 1)
