"""The generators that can be trained, by the name that the config and the wildcards use."""

from tubepet.gan import dcgan, ours, vae, wgan
from tubepet.gan.run import Model

MODELS: dict[str, Model] = {"ours": ours, "vae": vae, "dcgan": dcgan, "wgan": wgan}
