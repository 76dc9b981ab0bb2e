"""The generators that can be trained, by their names in config and wildcards."""

from tubepet.generate.models.dcgan import DCGAN
from tubepet.generate.models.edm import EDM
from tubepet.generate.models.fastgan import FastGAN
from tubepet.generate.models.flow import Flow
from tubepet.generate.models.paper import Paper
from tubepet.generate.models.surrogate import Surrogate
from tubepet.generate.models.vae import VAE
from tubepet.generate.models.wgan import WGAN
from tubepet.generate.run import Model

ALL: tuple[type[Model], ...] = (
    VAE, DCGAN, WGAN, FastGAN, EDM, Flow, Paper, Surrogate,
)  # fmt: skip
MODELS = {kind.name: kind() for kind in ALL}
