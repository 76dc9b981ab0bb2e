"""Wasserstein GAN on the networks of DCGAN, a rival of the paper's model.

Weight clipping (arXiv:1701.07875) or a gradient penalty (arXiv:1704.00028) bounds the critic. So
the penalties `lecam_weight` and `r1_weight` of other critics are not used.
"""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, RMSprop

from tubepet.generate.data import Data
from tubepet.generate.layers.loss import ADVERSARIAL, frozen, gradient_penalty
from tubepet.generate.models.dcgan import DCGAN, DCCritic
from tubepet.generate.run import Config, Networks, Run, bare


def clip(critic: nn.Module, bound: float) -> None:
    """Clip every parameter to [-bound, bound] (Arjovsky et al. 2017, algorithm 1)."""
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.clamp_(-bound, bound)


class WGAN(DCGAN):
    """The networks of DCGAN, trained on the Wasserstein distance."""

    name = "wgan"
    adam_betas = (0.0, 0.9)  # Gulrajani et al. 2017, algorithm 1

    def make_critic(self, config: Config, data: Data) -> DCCritic:
        """Return a fresh critic; without batch norm if the gradient penalty, per image, is used."""
        is_normalised = config["penalty"] == "clip"
        return DCCritic(data.real.image_size, config["disc_channels"], is_normalised)

    def make_optimizers(self, config: Config, networks: Networks) -> dict[str, Optimizer]:
        """Return RMSprop with clipping, Adam with the gradient penalty, as published."""
        if config["penalty"] == "gradient":
            return super().make_optimizers(config, networks)
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
            penalty = torch.zeros_like(critic_loss)
            if config["penalty"] == "gradient":
                share = run.own(torch.rand(config["batch_size"], 1, 1, 1, generator=run.rng))
                penalty = gradient_penalty(bare(critic), real, fake, share)
            run.update("critic", critic_loss + config["penalty_weight"] * penalty)
            if config["penalty"] == "clip":
                clip(critic, config["clip"])

        with frozen(critic):
            fake = transform(generator(run.noise(generator.latent_size)))
            fake_logits = critic(fake)
            generator_loss = loss.generator(fake_logits)
            run.update("generator", generator_loss)
        return {
            "critic_loss": critic_loss,
            "generator_loss": generator_loss,
            "penalty": penalty,
            "critic_real": real_logits.mean(),
            "critic_fake": fake_logits.mean(),
        }
