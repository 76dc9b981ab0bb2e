"""The generators that can be trained, by the name that the config and the wildcards use."""

from tubepet.gan import dcgan, ours, paper, vae, wgan
from tubepet.gan.run import Model

MODELS: dict[str, Model] = {
    "paper": paper,
    "vae": vae,
    "dcgan": dcgan,
    "wgan": wgan,
    "ours": ours,
}
