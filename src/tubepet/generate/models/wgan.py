"""Wasserstein GAN on the networks of DCGAN, a rival of the paper's model.

Weight clipping (arXiv:1701.07875) bounds the critic. So the penalties `lecam_weight` and
`r1_weight` of other critics are not used.
"""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, RMSprop

from tubepet.generate.layers.loss import ADVERSARIAL, frozen
from tubepet.generate.models.dcgan import DCGAN
from tubepet.generate.run import Config, Networks, Run


def clip(critic: nn.Module, bound: float) -> None:
    """Clip every parameter to [-bound, bound] (Arjovsky et al. 2017, algorithm 1)."""
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-bound, bound)


class WGAN(DCGAN):
    """The networks of DCGAN, trained on the Wasserstein distance."""

    name = "wgan"

    def make_optimizers(self, config: Config, networks: Networks) -> dict[str, Optimizer]:
        """Return RMSprop, as published."""
        rate = config["learning_rate"]
        return {key: RMSprop(net.parameters(), lr=rate) for key, net in networks.items()}

    def train_step(self, run: Run) -> dict[str, Tensor]:
        """Take `critic_steps` steps of the critic, then one of the generator."""
        config = run.config
        generator, critic = run.networks["generator"], run.networks["critic"]
        loss = ADVERSARIAL["wasserstein"]

        for _ in range(config["critic_steps"]):
            transform = run.transform()
            real = transform(run.next_batch("real", run.data.real)[0])
            with torch.no_grad():
                fake = transform(generator(run.noise(generator.latent_size)))
            real_logits = critic(real)
            critic_loss = loss.critic(real_logits, critic(fake))
            run.update("critic", critic_loss)
            clip(critic, config["clip"])

        with frozen(critic):
            fake = transform(generator(run.noise(generator.latent_size)))
            fake_logits = critic(fake)
            generator_loss = loss.generator(fake_logits)
            run.update("generator", generator_loss)
        return {
            "critic_loss": critic_loss,
            "generator_loss": generator_loss,
            "critic_real": real_logits.mean(),
            "critic_fake": fake_logits.mean(),
        }
