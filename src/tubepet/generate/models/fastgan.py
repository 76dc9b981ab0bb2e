"""FastGAN, a GAN for few images, a rival of the paper's (Liu et al. 2021, arXiv:2101.04775).

As published, the generator has skip-layer excitation, noise injection and gated linear units. The
discriminator is residual, has spectral norm, and must reconstruct real images from its features.
The loss is the hinge loss, with DiffAugment (`generate.augment`). For small images of one channel,
levels start at 4 x 4, and excitation spans a factor of eight. There are two departures. The
reconstruction error is an absolute difference, because the published perceptual distance needs a
network trained on photographs. The generator has no spectral norm, because the average of its
weights would lose it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from tubepet.errors import InputError
from tubepet.generate.data import Data
from tubepet.generate.layers.loss import ADVERSARIAL, frozen
from tubepet.generate.layers.output import output_layer
from tubepet.generate.run import Config, Inputs, Model, Run, bare

START_SIZE = 4  # pixels
MIN_SIZE = 32  # pixels
MAX_WIDENING = 16  # the narrowest maps have this many times the channels of the widest
EXCITATION = 8  # side of the excited map over that of the map that gates it
NUM_QUADRANTS = 4


class NoiseInjection(nn.Module):
    """Add N(0, 1) noise, one value per pixel, with a learned weight that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """(B, C, H, W) and (B, 1, H, W) -> (B, C, H, W)."""
        return x + self.weight * noise


class UpBlock(nn.Module):
    """Double the size; then convolution, noise (if any), batch norm and gate, `num_convs` times."""

    def __init__(self, channels_in: int, channels_out: int, num_convs: int, is_noisy: bool) -> None:
        super().__init__()
        widths = [channels_in] + [channels_out] * num_convs
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, 2 * channels_out, 3, padding=1, bias=False) for width in widths[:-1]
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(2 * channels_out) for _ in range(num_convs))
        self.noises = nn.ModuleList(NoiseInjection() for _ in range(num_convs if is_noisy else 0))

    def forward(self, x: Tensor, noise: Sequence[Tensor] = ()) -> Tensor:
        """(B, C, H, W) -> (B, C', 2H, 2W); one noise map per convolution."""
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = convolution(x)
            if self.noises:
                x = self.noises[i](x, noise[i])
            x = functional.glu(norm(x), dim=1)
        return x


class SkipLayerExcitation(nn.Module):
    """Gate the channels of a large map by a small one (Liu et al. 2021, eq. 1 and 2)."""

    def __init__(self, channels_small: int, channels_large: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            nn.Conv2d(channels_small, channels_large, 4, bias=False),
            nn.LeakyReLU(0.1),
            nn.Conv2d(channels_large, channels_large, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, small: Tensor, large: Tensor) -> Tensor:
        """(B, C, h, w) and (B, C', H, W) -> (B, C', H, W)."""
        return large * self.gate(small)


class FastGenerator(nn.Module):
    """z -> 4x4 -> up blocks -> image; every second block has two convolutions with noise.

    Parameters
    ----------
    image_size : int
        Side in pixels, a power of two, at least 32.
    latent_size : int
        Length of z ~ N(0, I).
    channels : int
        Channels of the largest map; they double towards the input, up to 16 times.
    output, filter_px
        See `layers.output`.
    """

    def __init__(
        self, image_size: int, latent_size: int, channels: int, output: str, filter_px: float
    ) -> None:
        super().__init__()
        self.latent_size = latent_size
        num_levels = (image_size // START_SIZE).bit_length() - 1
        self.sizes = [START_SIZE * 2**i for i in range(num_levels + 1)]
        widths = [channels * min(image_size // size, MAX_WIDENING) for size in self.sizes]
        self.start = nn.Sequential(
            nn.ConvTranspose2d(latent_size, 2 * widths[0], START_SIZE, bias=False),
            nn.BatchNorm2d(2 * widths[0]),
            nn.GLU(dim=1),
        )
        self.blocks = nn.ModuleList()
        self.excitations = nn.ModuleDict()
        for i in range(num_levels):
            is_double = i % 2 == 0
            self.blocks.append(UpBlock(widths[i], widths[i + 1], 1 + is_double, is_double))
            low = self.sizes[i + 1] // EXCITATION
            if low in self.sizes:
                source = widths[self.sizes.index(low)]
                self.excitations[str(i)] = SkipLayerExcitation(source, widths[i + 1])
        self.out = nn.Sequential(
            nn.Conv2d(channels, 1, 3, padding=1), output_layer(output, image_size, filter_px)
        )

    def draw_noise(self, num: int, rng: torch.Generator) -> list[Tensor]:
        """Return z (num, latent_size) and two noise maps for each noisy block, on the CPU."""
        sides = [side for side in self.sizes[1::2] for _ in range(2)]
        z = torch.randn(num, self.latent_size, generator=rng)
        return [z, *(torch.randn(num, 1, side, side, generator=rng) for side in sides)]

    def forward(self, z: Tensor, *noise: Tensor) -> Tensor:
        """(B, latent_size), noise maps -> (B, 1, H, W) in [-1, 1]."""
        maps = [self.start(z[:, :, None, None])]
        for i, block in enumerate(self.blocks):
            x = block(maps[-1], noise[i : i + 2] if i % 2 == 0 else ())
            if str(i) in self.excitations:
                x = self.excitations[str(i)](maps[self.sizes.index(x.shape[-1] // EXCITATION)], x)
            maps.append(x)
        return self.out(maps[-1])


def _normed(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Return a convolution with spectral norm, batch norm and leaky ReLU."""
    padding = 0 if kernel == 1 else 1
    convolution = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)
    return [spectral_norm(convolution), nn.BatchNorm2d(channels_out), nn.LeakyReLU(0.2)]


class DownBlock(nn.Module):
    """Halve the size on two paths, and take their mean."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            *_normed(channels_in, channels_out, 4, 2), *_normed(channels_out, channels_out, 3)
        )
        self.direct = nn.Sequential(nn.AvgPool2d(2), *_normed(channels_in, channels_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H/2, W/2)."""
        return 0.5 * (self.main(x) + self.direct(x))


class Judged(NamedTuple):
    """Logits (B, 1, 5, 5), and reconstructions (B, 1, H/2, W/2) of image and quadrant, if made."""

    logits: Tensor
    reconstructed: tuple[Tensor, ...] = ()


class ReconstructingCritic(nn.Module):
    """A discriminator of patches, with two decoders that train on real images alone.

    Logits come from a map of 8x8. One decoder reconstructs the image at half size from that map.
    The other reconstructs a quadrant at full size from the same quadrant of the 16x16 map (Liu et
    al. 2021, section 3.2).
    """

    def __init__(self, image_size: int, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            spectral_norm(nn.Conv2d(1, channels, 4, 2, 1, bias=False)), nn.LeakyReLU(0.2)
        )
        num_levels = (image_size // 2 // 16).bit_length() - 1  # from half size to 16x16
        widths = [channels * min(2**i, MAX_WIDENING) for i in range(num_levels + 2)]
        *blocks, self.to_8 = (DownBlock(narrow, wide) for narrow, wide in pairwise(widths))
        self.to_16 = nn.Sequential(*blocks)
        self.judge = nn.Sequential(
            *_normed(widths[-1], widths[-1], 1),
            spectral_norm(nn.Conv2d(widths[-1], 1, START_SIZE, bias=False)),
        )
        self.decode_whole = _decoder(widths[-1], channels, image_size // 2)
        self.decode_part = _decoder(widths[-2], channels, image_size // 2)

    def forward(self, image: Tensor, quadrant: int | None = None) -> Judged:
        """Judge images (B, 1, H, W); reconstruct them too if a quadrant (0 .. 3) is given."""
        at_16 = self.to_16(self.stem(image))
        at_8 = self.to_8(at_16)
        logits = self.judge(at_8)
        if quadrant is None:
            return Judged(logits)
        part = self.decode_part(take_quadrant(at_16, quadrant))
        return Judged(logits, (self.decode_whole(at_8), part))


def _decoder(channels_in: int, channels: int, size: int) -> nn.Sequential:
    """Return up blocks from 8x8 to `size`, then tanh."""
    num_levels = (size // 8).bit_length() - 1
    widths = [channels_in, *(max(channels, channels_in // 2**i) for i in range(1, num_levels + 1))]
    blocks = [UpBlock(wide, narrow, 1, is_noisy=False) for wide, narrow in pairwise(widths)]
    return nn.Sequential(*blocks, nn.Conv2d(widths[-1], 1, 3, padding=1), nn.Tanh())


def take_quadrant(x: Tensor, quadrant: int) -> Tensor:
    """Return quadrant 0 .. 3, in reading order, of maps (B, C, H, W)."""
    row, column = divmod(quadrant, 2)
    return x.tensor_split(2, dim=2)[row].tensor_split(2, dim=3)[column]


def reconstruction_error(judged: Judged, image: Tensor, quadrant: int) -> Tensor:
    """Return the sum of both mean absolute errors (Liu et al. 2021, eq. 4, with this distance)."""
    whole, part = judged.reconstructed
    error = (whole - functional.avg_pool2d(image, 2)).abs().mean()
    return error + (part - take_quadrant(image, quadrant)).abs().mean()


class FastGAN(Model):
    """FastGAN: generator and discriminator take steps in turn."""

    name = "fastgan"
    network = FastGenerator
    adam_betas = (0.5, 0.999)  # of the authors' code

    def generator_arguments(self, config: Config, data: Data) -> dict[str, Any]:
        """Return the constructor arguments of `FastGenerator`.

        Raises
        ------
        InputError
            If the slices are too small for the discriminator's levels.
        """
        if data.real.image_size < MIN_SIZE:
            raise InputError(
                f"reconstruct.num_pixels: got {data.real.image_size}, expected at least {MIN_SIZE} "
                "pixels for fastgan"
            )
        return super().generator_arguments(config, data)

    def make_critic(self, config: Config, data: Data) -> ReconstructingCritic:
        """Return a fresh discriminator."""
        return ReconstructingCritic(data.real.image_size, config["disc_channels"])

    def train_step(self, run: Run) -> dict[str, Tensor]:
        """Take a step of the discriminator with its reconstructions, then of the generator."""
        generator, critic = run.networks["generator"], run.networks["critic"]
        loss = ADVERSARIAL[run.config["loss"]]
        transform = run.transform()
        real = transform(run.next_batch("real", run.data.real)[0])
        noise = (run.own(n) for n in generator.draw_noise(run.config["batch_size"], run.rng))
        fake = transform(generator(*noise))
        quadrant = int(torch.randint(NUM_QUADRANTS, (1,), generator=run.rng))

        judged, fake_logits = critic(real, quadrant), critic(fake.detach()).logits
        critic_loss = loss.critic(judged.logits, fake_logits)
        reconstruction = reconstruction_error(judged, real, quadrant)
        penalty = run.regularisation(
            lambda image: bare(critic)(image).logits, real, judged.logits, fake_logits
        )
        run.update("critic", critic_loss + reconstruction + penalty)

        with frozen(critic):
            generator_loss = loss.generator(critic(fake).logits)
            run.update("generator", generator_loss)
        return {
            "critic_loss": critic_loss,
            "reconstruction_loss": reconstruction,
            "penalty": penalty,
            "generator_loss": generator_loss,
            "critic_real": judged.logits.mean(),
            "critic_fake": fake_logits.mean(),
        }

    def draw_inputs(self, network: Any, num: int, data: Data, rng: torch.Generator) -> Inputs:
        """Return z ~ N(0, I) and fresh noise maps."""
        z, *maps = network.draw_noise(num, rng)
        return {"z": z} | {f"noise_{i}": noise for i, noise in enumerate(maps)}
