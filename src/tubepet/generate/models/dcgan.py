"""DCGAN, a rival of the paper's model (Radford, Metz, Chintala 2016, arXiv:1511.06434)."""

from itertools import pairwise

from torch import Tensor, nn

from tubepet.generate.data import Data
from tubepet.generate.layers.loss import ADVERSARIAL, frozen
from tubepet.generate.layers.output import output_layer
from tubepet.generate.run import Config, Model, Run, bare

INITIAL_STD = 0.02  # of all weights; Radford et al., section 4
START_SIZE = 4  # pixels
MAX_WIDENING = 8  # the narrowest maps have this many times the channels of the widest


class DCGenerator(nn.Module):
    """z -> 4x4 -> transposed convolutions, BN and ReLU -> image.

    Parameters
    ----------
    image_size : int
        Side in pixels, a power of two, at least 8.
    latent_size : int
        Length of z ~ N(0, I).
    channels : int
        Channels of the last hidden layer; they double towards the input, up to 8 times.
    output, filter_px
        See `layers.output`.
    """

    def __init__(
        self, image_size: int, latent_size: int, channels: int, output: str, filter_px: float
    ) -> None:
        super().__init__()
        self.latent_size = latent_size
        widths = _widths(image_size, channels)[::-1]
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_size, widths[0], START_SIZE, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for wide, narrow in pairwise(widths):
            layers += [
                nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(narrow),
                nn.ReLU(),
            ]
        layers += [
            nn.ConvTranspose2d(widths[-1], 1, 4, stride=2, padding=1),
            output_layer(output, image_size, filter_px),
        ]
        self.layers = nn.Sequential(*layers).apply(initialise)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent_size) -> (B, 1, H, W) in [-1, 1]."""
        return self.layers(z[:, :, None, None])


class DCCritic(nn.Module):
    """Strided convolutions with BN and leaky ReLU down to one logit."""

    def __init__(self, image_size: int, channels: int) -> None:
        super().__init__()
        widths = [1, *_widths(image_size, channels)]
        layers: list[nn.Module] = []
        for i, (narrow, wide) in enumerate(pairwise(widths)):
            layers.append(nn.Conv2d(narrow, wide, 4, stride=2, padding=1))
            if i > 0:
                layers.append(nn.BatchNorm2d(wide))
            layers.append(nn.LeakyReLU(0.2))
        layers.append(nn.Conv2d(widths[-1], 1, START_SIZE))
        self.layers = nn.Sequential(*layers).apply(initialise)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> logits (B,)."""
        return self.layers(image).flatten()


def _widths(image_size: int, channels: int) -> list[int]:
    """Return the channels at image_size / 2, image_size / 4, .. down to 4x4."""
    num_levels = (image_size // START_SIZE).bit_length() - 1
    return [channels * min(2**i, MAX_WIDENING) for i in range(num_levels)]


def initialise(layer: nn.Module) -> None:
    """Draw weights of convolutions from N(0, 0.02), normalisation gains from N(1, 0.02)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(layer.weight, 0.0, INITIAL_STD)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, INITIAL_STD)


class DCGAN(Model):
    """DCGAN: generator and discriminator take steps in turn."""

    name = "dcgan"
    network = DCGenerator
    adam_betas = (0.5, 0.999)  # Radford et al., section 4

    def make_critic(self, config: Config, data: Data) -> DCCritic:
        """Return a fresh discriminator."""
        return DCCritic(data.real.image_size, config["disc_channels"])

    def train_step(self, run: Run) -> dict[str, Tensor]:
        """Take a step of the discriminator, then of the generator, on the same generated batch."""
        generator, critic = run.networks["generator"], run.networks["critic"]
        loss = ADVERSARIAL[run.config["loss"]]
        transform = run.transform()
        real = transform(run.next_batch("real", run.data.real)[0])
        fake = transform(generator(run.noise(generator.latent_size)))

        real_logits, fake_logits = critic(real), critic(fake.detach())
        critic_loss = loss.critic(real_logits, fake_logits)
        penalty = run.regularisation(bare(critic), real, real_logits, fake_logits)
        run.update("critic", critic_loss + penalty)

        with frozen(critic):
            generator_loss = loss.generator(critic(fake))
            run.update("generator", generator_loss)
        return {
            "critic_loss": critic_loss,
            "penalty": penalty,
            "generator_loss": generator_loss,
            "critic_real": real_logits.mean(),
            "critic_fake": fake_logits.mean(),
        }
