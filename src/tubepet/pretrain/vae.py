"""The convolutional variational autoencoder of CT slices (stage 05).

Its encoder makes the query z of the attention memory. The GAN trains the encoder further, and uses
the decoder in a regularising loss (docs/model.md, joint training). Layers have GroupNorm instead
of BatchNorm: an image's code does not depend on the rest of its batch, and there are no running
statistics that lag behind the weights.

Shapes: B images, H = W = image_size, D = latent_size.
"""

import os
from typing import Any

import torch
from torch import Tensor, nn

from tubepet.training.folder import load_network

SMALLEST_MAP = 4  # pixels, between the strided convolutions and the linear layers
GROUP_CHANNELS = 8  # channels per normalisation group
MAX_WIDENING = 8  # the widest map has this many times `channels`
MAX_LOG_VAR = 10.0  # |log variance|, against overflow; ten times what training reaches


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // GROUP_CHANNELS, channels)


class ConvVAE(nn.Module):
    """A VAE of one-channel square images in [-1, 1].

    Parameters
    ----------
    image_size : int
        Side of the image in pixels, a power of two, at least 8.
    latent_size : int
        Length D of the code.
    channels : int
        Width of the first map, a multiple of 8. It doubles at each halving of the size, up to 8
        times `channels`.

    Raises
    ------
    ValueError
        If `image_size` is no power of two or `channels` no multiple of 8.

    References
    ----------
    Kingma & Welling 2014, arXiv:1312.6114; GroupNorm: Wu & He 2018, arXiv:1803.08494.
    """

    def __init__(self, image_size: int, latent_size: int, channels: int) -> None:
        super().__init__()
        if image_size < 2 * SMALLEST_MAP or image_size & (image_size - 1):
            raise ValueError(f"image_size: got {image_size} pixels, expected 8, 16, 32, 64, ...")
        if channels <= 0 or channels % GROUP_CHANNELS:
            raise ValueError(f"channels: got {channels}, expected a multiple of {GROUP_CHANNELS}")
        self.image_size = image_size
        self.latent_size = latent_size
        self.channels = channels
        num_halvings = (image_size // SMALLEST_MAP).bit_length() - 1
        widths = [channels * min(2**i, MAX_WIDENING) for i in range(num_halvings)]

        down: list[nn.Module] = []
        for c_in, c_out in zip([1, *widths], widths, strict=False):
            down += [nn.Conv2d(c_in, c_out, 4, stride=2, padding=1), _norm(c_out), nn.SiLU()]
        self.trunk = nn.Sequential(*down)
        self.mu_head = nn.Linear(widths[-1] * SMALLEST_MAP**2, latent_size)
        self.log_var_head = nn.Linear(widths[-1] * SMALLEST_MAP**2, latent_size)

        self.expand = nn.Linear(latent_size, widths[-1] * SMALLEST_MAP**2)
        up: list[nn.Module] = []
        for c_in, c_out in zip(widths[:0:-1], widths[-2::-1], strict=True):
            # kernel 4 at stride 2 covers all pixels equally often, which avoids checkerboards
            up += [nn.ConvTranspose2d(c_in, c_out, 4, stride=2, padding=1), _norm(c_out), nn.SiLU()]
        up += [nn.ConvTranspose2d(widths[0], 1, 4, stride=2, padding=1), nn.Tanh()]
        self.generate = nn.Sequential(*up)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance of q(z|x).

        Parameters
        ----------
        x : float tensor, shape (B, 1, H, W)
            Images in [-1, 1].

        Returns
        -------
        mu, log_var : float tensors, shape (B, D)
        """
        side = self.image_size
        assert x.shape[1:] == (1, side, side), (
            f"got {tuple(x.shape)}, expected (B, 1, {side}, {side})"
        )
        h = self.trunk(x).flatten(1)
        return self.mu_head(h), self.log_var_head(h).clamp(-MAX_LOG_VAR, MAX_LOG_VAR)

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean image, shape (B, 1, H, W) in [-1, 1], of codes (B, D)."""
        h = self.expand(z).unflatten(1, (-1, SMALLEST_MAP, SMALLEST_MAP))
        image: Tensor = self.generate(h)
        return image

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, sample z = mu + sigma * noise, decode.

        Parameters
        ----------
        x : float tensor, shape (B, 1, H, W)
        noise : float tensor, shape (B, D)
            Standard normal.

        Returns
        -------
        x_hat : float tensor, shape (B, 1, H, W)
        mu, log_var : float tensors, shape (B, D)
        """
        mu, log_var = self.encode(x)
        return self.decode(mu + torch.exp(0.5 * log_var) * noise), mu, log_var


def gaussian_kl(mu: Tensor, log_var: Tensor) -> Tensor:
    """Return KL(N(mu, sigma^2) || N(0, I)) of each image in nats, shape (B,).

    References
    ----------
    Kingma & Welling 2014, appendix B.
    """
    return 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(1)


def elbo_terms(model: nn.Module, x: Tensor, sigma_x: float, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two terms of the negative ELBO, each a mean over the batch in nats per image.

    Parameters
    ----------
    model : ConvVAE
        Possibly wrapped by Lightning Fabric.
    x : float tensor, shape (B, 1, H, W)
        Images in [-1, 1].
    sigma_x : float
        Standard deviation of a pixel about its mean, in units of x.
    noise : float tensor, shape (B, D)
        Standard normal.

    Returns
    -------
    reconstruction_nll, kl : scalar tensors
        ||x - x_hat||^2 / (2 sigma_x^2), without the constant (H W / 2) ln(2 pi sigma_x^2), and
        KL(q(z|x) || N(0, I)).

    References
    ----------
    docs/model.md, eq. 3' (the loss that the paper's eq. 3 leaves out).
    """
    x_hat, mu, log_var = model(x, noise)
    reconstruction_nll = (x - x_hat).square().sum((1, 2, 3)) / (2 * sigma_x**2)  # (B,)
    return reconstruction_nll.mean(), gaussian_kl(mu, log_var).mean()


def load_vae(weights_path: str | os.PathLike[str], config: dict[str, Any]) -> ConvVAE:
    """Rebuild a trained VAE.

    Parameters
    ----------
    weights_path : path
        A `.safetensors` file.
    config : dict
        Holds `image_size`, `latent_size` and `channels`; other keys of vae.json are ignored.

    Returns
    -------
    ConvVAE
        On the CPU, in evaluation mode.

    Raises
    ------
    InputError
        If the file is damaged or belongs to another architecture.
    """
    arguments = {key: int(config[key]) for key in ("image_size", "latent_size", "channels")}
    return load_network(lambda: ConvVAE(**arguments), weights_path, f"a VAE with {arguments}")
