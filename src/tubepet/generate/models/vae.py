"""A variational autoencoder of slices, a rival of the paper's model (Kingma & Welling 2014).

The decoder gives a mean and a standard deviation (spread) for each pixel. A sample adds noise of
that spread, because the mean alone is smoother than any slice. The noise has the correlations of
the reconstruction's filter. The likelihood takes pixels as independent and so counts correlated
ones several times; `beta` makes up for it (docs/model.md, rivals).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tubepet.generate.data import Data
from tubepet.generate.layers import mirror_filter as mirrored
from tubepet.generate.layers.output import output_layer
from tubepet.generate.run import Inputs, Model, Run
from tubepet.pretrain.vae import ConvVAE, gaussian_kl

MIN_SPREAD = 0.02  # in [-1, 1], a hundredth of the scale; empty parts of slices have no noise


class SliceVAE(ConvVAE):
    """A VAE of slices whose decoder gives mean and spread of each pixel.

    Parameters
    ----------
    image_size, latent_size, channels : int
        See `ConvVAE`.
    output, filter_px
        See `layers.output`.
    """

    transfer: Tensor
    cosines: Tensor
    noise_std: Tensor

    def __init__(
        self, image_size: int, latent_size: int, channels: int, output: str, filter_px: float
    ) -> None:
        super().__init__(image_size, latent_size, channels)
        *hidden, _, _ = self.generate  # without the last convolution and its tanh
        last = nn.ConvTranspose2d(channels, 2, 4, stride=2, padding=1)
        self.generate = nn.Sequential(*hidden, last)
        self.out = output_layer(output, image_size, filter_px)
        transfer = mirrored.filter_transfer(image_size, filter_px)
        self.register_buffer("transfer", mirrored.buffer(transfer))
        self.register_buffer("cosines", mirrored.buffer(mirrored.cosines(image_size)))
        self.register_buffer("noise_std", mirrored.buffer(mirrored.noise_std(transfer)))

    def decode(self, z: Tensor) -> Tensor:
        """Return mean and spread of each pixel, (B, 2, H, W), of codes (B, latent_size)."""
        mean, spread = super().decode(z).split(1, dim=1)
        return torch.cat([self.out(mean), MIN_SPREAD + functional.softplus(spread)], dim=1)

    def draw(self, z: Tensor, noise: Tensor) -> Tensor:
        """Return images of codes (B, latent_size); `noise` (B, 1, H, W) is N(0, 1)."""
        mean, spread = self.decode(z).split(1, dim=1)
        coloured = mirrored.apply(noise, self.transfer, self.cosines) / self.noise_std
        return (mean + spread * coloured).clamp(-1, 1)


class VAE(Model):
    """VAE: the generator is the decoder, and there is no critic."""

    name = "vae"
    network = SliceVAE

    def train_step(self, run: Run) -> dict[str, Tensor]:
        """Step down the negative ELBO, nll + beta KL, in nats per image."""
        real = run.transform(symmetries_only=True)(run.next_batch("real", run.data.real)[0])
        generator = run.networks["generator"]
        decoded, mu, log_var = generator(real, run.noise(generator.latent_size))
        mean, spread = decoded.split(1, dim=1)
        nll = (0.5 * ((real - mean) / spread).square() + spread.log()).sum((1, 2, 3)).mean()
        kl = gaussian_kl(mu, log_var).mean()
        run.update("generator", nll + run.config["beta"] * kl)
        return {"vae_nll": nll, "vae_kl": kl}

    def draw_inputs(self, network: Any, num: int, data: Data, rng: torch.Generator) -> Inputs:
        """Return z ~ N(0, I), and N(0, 1) numbers for the noise of the pixels."""
        side = network.image_size
        inputs = super().draw_inputs(network, num, data, rng)
        return inputs | {"noise": torch.randn(num, 1, side, side, generator=rng)}

    def make_images(self, network: Any, *inputs: Tensor) -> Tensor:
        """Return images of codes and noise, see `SliceVAE.draw`."""
        return network.draw(*inputs)
