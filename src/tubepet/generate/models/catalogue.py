"""The generators that can be trained, by the name that the config and the wildcards use."""

from tubepet.generate.models import dcgan, edm, fastgan, ours, paper, vae, wgan
from tubepet.generate.run import Model

MODELS: dict[str, Model] = {
    "vae": vae,
    "dcgan": dcgan,
    "wgan": wgan,
    "fastgan": fastgan,
    "edm": edm,
    "paper": paper,
    "ours": ours,
}
