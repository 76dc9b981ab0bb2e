"""The paper's model: a medical query, an attention memory of positron features, and a GAN.

x_ct -> encoder -> z -> attention over the bank -> context c -> v = [BN(c); z; noise] -> generator.

Where the paper is silent or contradicts itself, docs/model.md decides: the
discriminator's real images are positron images (A10); z is batch-normalised and a part of each
batch is replaced by N(0, I); v keeps z and fresh noise beside the context; the perceptual loss
pairs by assignment.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from tubepet.errors import InputError
from tubepet.gan.data import Data
from tubepet.gan.discriminator import PatchDiscriminator
from tubepet.gan.generator import DenseGenerator
from tubepet.gan.loss import ADVERSARIAL, assign, attention_perceptual, frozen
from tubepet.gan.memory import AttentionMemory, effective_slots
from tubepet.gan.run import SAMPLE_CHUNK, Config, Networks, Run, bare
from tubepet.pretrain.vae import ConvVAE, gaussian_kl

ADAM_BETAS = (0.5, 0.999)  # beta1: the paper, section 4.1


class Generated(NamedTuple):
    """Images (B, 1, H, W), log attention (B, S), and the CT code: z, mu, log variance (B, d_z)."""

    image: Tensor
    log_attention: Tensor
    code: Tensor
    mu: Tensor
    log_var: Tensor


class AttentionMemoryGenerator(nn.Module):
    """Encoder, memory and dense generator: all that sampling needs, and all that the EMA covers.

    Parameters
    ----------
    image_size, latent_size, vae_channels : int
        The encoder's.
    bank_shape : (int, int)
        Slots and features of the memory.
    attention, kappa
        See `AttentionMemory`.
    stem_channels, growth, layers_per_block
        See `DenseGenerator`.
    noise_size : int
        Length of the fresh noise in v.
    prior_fraction : float
        Share of each batch whose query is N(0, I) instead of an encoded CT slice.
    """

    def __init__(
        self,
        image_size: int,
        latent_size: int,
        vae_channels: int,
        bank_shape: tuple[int, int],
        attention: str,
        kappa: float,
        stem_channels: int,
        growth: int,
        layers_per_block: int,
        noise_size: int,
        prior_fraction: float,
    ) -> None:
        super().__init__()
        self.noise_size = noise_size
        self.prior_fraction = prior_fraction
        self.vae = ConvVAE(image_size, latent_size, vae_channels)
        self.query_norm = nn.BatchNorm1d(latent_size, affine=False)
        self.memory = AttentionMemory(latent_size, bank_shape, attention, kappa)
        self.context_norm = nn.BatchNorm1d(bank_shape[1], affine=False)
        self.generator = DenseGenerator(
            bank_shape[1] + latent_size + noise_size,
            image_size,
            stem_channels,
            growth,
            layers_per_block,
        )

    def forward(self, ct: Tensor, code_noise: Tensor, prior: Tensor, noise: Tensor) -> Generated:
        """Generate one image per CT slice.

        Parameters
        ----------
        ct : tensor, shape (B, 1, H, W)
            In [-1, 1].
        code_noise, prior : tensor, shape (B, d_z)
            N(0, 1): for the reparametrisation, and instead of the code.
        noise : tensor, shape (B, noise_size)
            N(0, 1), goes into v.
        """
        mu, log_var = self.vae.encode(ct)
        code = mu + torch.exp(0.5 * log_var) * code_noise
        num_prior = round(self.prior_fraction * len(ct))
        query = torch.cat([prior[:num_prior], self.query_norm(code)[num_prior:]])  # (B, d_z)
        context, log_attention = self.memory(query)
        vector = torch.cat([self.context_norm(context), query, noise], dim=1)  # v
        return Generated(self.generator(vector), log_attention, code, mu, log_var)

    def draw_noise(self, num: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three random inputs of `forward` for `num` images, on the CPU."""
        sizes = (self.vae.latent_size, self.vae.latent_size, self.noise_size)
        code_noise, prior, noise = (torch.randn(num, size, generator=rng) for size in sizes)
        return code_noise, prior, noise


def generator_arguments(config: Config, data: Data) -> dict[str, Any]:
    """Return the constructor arguments of `AttentionMemoryGenerator`.

    Raises
    ------
    InputError
        If the bank or the encoder does not belong to the image sets.
    """
    assert data.vae is not None and data.bank is not None and data.ct is not None
    if len(data.bank) != len(data.real):
        raise InputError(
            f"bank.safetensors: got {len(data.bank)} slots, expected {len(data.real)}, one per "
            "training slice"
        )
    sizes = {data.vae.image_size, data.ct.image_size, data.real.image_size}
    if len(sizes) > 1:
        raise InputError(
            f"vae.json: the encoder sees {data.vae.image_size} pixels, CT slices have "
            f"{data.ct.image_size}, positron slices {data.real.image_size}, expected one size"
        )
    keys = ("attention", "kappa", "stem_channels", "growth", "layers_per_block", "noise_size")
    return {
        "image_size": data.real.image_size,
        "latent_size": data.vae.latent_size,
        "vae_channels": data.vae.channels,
        "bank_shape": list(data.bank.shape),
        "prior_fraction": config["prior_fraction"],
        **{key: config[key] for key in keys},
    }


def make_generator(arguments: Mapping[str, Any]) -> AttentionMemoryGenerator:
    """Return a fresh generator, its memory still empty."""
    return AttentionMemoryGenerator(**arguments)


def make_networks(config: Config, data: Data) -> Networks:
    """Return the generator with the pretrained encoder and the bank in place, and the PatchGAN."""
    assert data.vae is not None and data.bank is not None
    generator = make_generator(generator_arguments(config, data))
    generator.vae.load_state_dict(data.vae.state_dict())
    generator.memory.bank.copy_(data.bank)
    return {"generator": generator, "critic": PatchDiscriminator(config["disc_channels"])}


def make_optimizers(config: Config, networks: Networks) -> dict[str, Optimizer]:
    """Adam for both sides; the pretrained encoder learns ten times more slowly."""
    encoder = list(networks["generator"].vae.parameters())
    others = [p for n, p in networks["generator"].named_parameters() if not n.startswith("vae.")]
    groups = [
        {"params": others, "lr": config["learning_rate"]},
        {"params": encoder, "lr": config["encoder_learning_rate"]},
    ]
    return {
        "generator": Adam(groups, betas=ADAM_BETAS),
        "critic": Adam(
            networks["critic"].parameters(), lr=config["learning_rate"], betas=ADAM_BETAS
        ),
    }


def train_step(run: Run) -> dict[str, Tensor]:
    """One step of the discriminator, then one of generator, attention and encoder (eq. 10).

    L = L_GAN + apg_weight L_APG + vae_weight L_VAE. The discriminator's features of the real batch
    serve both its own loss and L_APG.
    """
    config, data = run.config, run.data
    generator, critic = run.networks["generator"], run.networks["critic"]
    loss = ADVERSARIAL["bce"]
    assert data.ct is not None

    real, positions = run.next_batch("real", data.real)
    ct, _ = run.next_batch("ct", data.ct)
    transform = run.transform()
    real = transform(real)
    noise = (run.fabric.to_device(n) for n in generator.draw_noise(len(ct), run.rng))
    generated: Generated = generator(ct, *noise)
    fake = transform(generated.image)

    real_logits, real_layers = critic(real)
    fake_logits, _ = critic(fake.detach())
    critic_loss = loss.critic(real_logits, fake_logits)
    penalty = run.regularisation(lambda x: bare(critic)(x)[0], real, real_logits, fake_logits)
    run.update("critic", critic_loss + penalty)

    with frozen(critic):
        fake_logits, fake_layers = critic(fake)
        partner = assign(generated.log_attention[:, positions])  # slot s is training slice s
        perceptual = attention_perceptual([x.detach()[partner] for x in real_layers], fake_layers)
        adversarial = loss.generator(fake_logits)
        residual = (ct - generator.vae.decode(generated.code)).square().sum((1, 2, 3))
        nll = residual.mean() / (2 * config["sigma_x"] ** 2)
        kl = gaussian_kl(generated.mu, generated.log_var).mean()
        total = (
            adversarial
            + config["apg_weight"] * perceptual
            + config["vae_weight"] * (nll + config["beta"] * kl)
        )
        run.update("generator", total)
    return {
        "critic_loss": critic_loss,
        "penalty": penalty,
        "generator_loss": adversarial,
        "perceptual_loss": perceptual,
        "vae_nll": nll,
        "vae_kl": kl,
        "critic_real": real_logits.mean(),
        "critic_fake": fake_logits.mean(),
        "effective_slots": effective_slots(generated.log_attention),
    }


def sample(generator: nn.Module, num: int, data: Data, rng: torch.Generator) -> Tensor:
    """Generate with random training CT slices as queries, mixed with the prior as in training."""
    assert data.ct is not None and isinstance(generator, AttentionMemoryGenerator)
    device = generator.memory.bank.device
    images = []
    for start in range(0, num, SAMPLE_CHUNK):
        size = min(SAMPLE_CHUNK, num - start)
        positions = torch.randint(len(data.ct), (size,), generator=rng)
        inputs = (data.ct.batch(positions), *generator.draw_noise(size, rng))
        images.append(generator(*(x.to(device) for x in inputs)).image.cpu())
    return torch.cat(images)
