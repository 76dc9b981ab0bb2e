"""Rival: a variational autoencoder of the positron slices (Kingma & Welling 2014)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from tubepet.gan.data import Data
from tubepet.gan.run import SAMPLE_CHUNK, Config, Networks, Run
from tubepet.pretrain.vae import ConvVAE, gaussian_kl


def generator_arguments(config: Config, data: Data) -> dict[str, Any]:
    """Return the constructor arguments of `ConvVAE`."""
    return {
        "image_size": data.real.image_size,
        "latent_size": config["latent_size"],
        "channels": config["channels"],
    }


def make_generator(arguments: Mapping[str, Any]) -> ConvVAE:
    """Return a fresh autoencoder; its decoder is the generator."""
    return ConvVAE(**arguments)


def make_networks(config: Config, data: Data) -> Networks:
    """Return the one network."""
    return {"generator": make_generator(generator_arguments(config, data))}


def make_optimizers(config: Config, networks: Networks) -> dict[str, Optimizer]:
    """Adam with its usual moments: nothing here is adversarial."""
    return {"generator": Adam(networks["generator"].parameters(), lr=config["learning_rate"])}


def train_step(run: Run) -> dict[str, Tensor]:
    """One step down the negative ELBO, nll + beta KL, in nats per image."""
    real = run.transform(symmetries_only=True)(run.next_batch("real", run.data.real)[0])
    generator = run.networks["generator"]
    decoded, mu, log_var = generator(real, run.noise(len(real), generator.latent_size))
    residual = (real - decoded).square().sum((1, 2, 3))
    nll = residual.mean() / (2 * run.config["sigma_x"] ** 2)
    kl = gaussian_kl(mu, log_var).mean()
    run.update("generator", nll + run.config["beta"] * kl)
    return {"vae_nll": nll, "vae_kl": kl}


def sample(generator: nn.Module, num: int, data: Data, rng: torch.Generator) -> Tensor:
    """Decode z ~ N(0, I); the image is the decoder's mean, without its pixel noise."""
    assert isinstance(generator, ConvVAE)
    device = next(generator.parameters()).device
    z = torch.randn(num, generator.latent_size, generator=rng)
    return torch.cat([generator.decode(c.to(device)).cpu() for c in z.split(SAMPLE_CHUNK)])
