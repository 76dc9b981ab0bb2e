"""The paper's model: a medical query, an attention memory of positron features, and a GAN.

x_ct -> encoder -> z -> attention over the bank -> context c -> v = [BN(c); z; noise] -> generator.

Where the paper is silent or contradicts itself, docs/model.md decides, and each decision is a key
of `gan.paper`, whose values are the names of a table: `QUERIES` and `FUSIONS` here, `SLOTS` and
`SCORES` in memory.py, `LAYOUTS` in generator.py, `PAIRINGS` in pairing.py, `REAL` and `REDUCE`
here. config/paper_sensible.yaml holds our choices, config/paper_literal.yaml the letter of the
text.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from tubepet.errors import InputError
from tubepet.generate.data import Data
from tubepet.generate.layers.dense_generator import LAYOUTS
from tubepet.generate.layers.loss import ADVERSARIAL, frozen
from tubepet.generate.layers.memory import AttentionMemory, mean_entropy, memory_bank
from tubepet.generate.layers.output import output_layer
from tubepet.generate.layers.pairing import ATTENTIVE, PAIRINGS, Batch
from tubepet.generate.layers.patch_critic import PatchDiscriminator
from tubepet.generate.run import SAMPLE_CHUNK, Config, Networks, Run, bare
from tubepet.pretrain.vae import ConvVAE, gaussian_kl

ADAM_BETAS = (0.5, 0.999)  # beta1: the paper, section 4.1


class Code(NamedTuple):
    """What a query can be made of, each (B, d_z): codes of CT slices, their means, N(0, I)."""

    posterior: Tensor
    mean: Tensor
    prior: Tensor


def _mixed(code: Code, prior_fraction: float) -> Tensor:
    num_prior = round(prior_fraction * len(code.prior))
    return torch.cat([code.prior[:num_prior], code.posterior[num_prior:]])


# Where queries come from (docs/model.md A17): training always mixes, sampling has the choice.
QUERIES: dict[str, Callable[[Code, float], Tensor]] = {
    "mixed": _mixed,
    "prior": lambda code, _: code.prior,
    "ct_posterior": lambda code, _: code.posterior,
    "ct_mean": lambda code, _: code.mean,
}

# What the generator's vector v is made of (docs/model.md A6): the parts that are put together.
# "attentional" is Luong's tanh(W_c [c; z]); "query" leaves the memory out.
FUSIONS = {
    "normalised_concat": ("normalised_context", "query", "noise"),
    "concat": ("context", "query"),
    "context": ("context",),
    "tanh_concat": ("attentional",),
    "query": ("query", "noise"),
}

# What the discriminator is shown as real, from a positron and a CT batch (docs/model.md A10).
REAL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "positron": lambda positron, ct: positron,
    "medical": lambda positron, ct: ct,
    "mixture": lambda positron, ct: torch.cat([positron[::2], ct[1::2]]),
}

# The discriminator's output for an image (docs/model.md A9): its patches, each with its own loss,
# or their mean.
REDUCE: dict[str, Callable[[Tensor], Tensor]] = {
    "loss_mean": lambda logits: logits,
    "logit_mean": lambda logits: logits.mean((1, 2, 3)),
}


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
    attention, kappa, logit_std, is_projected
        See `AttentionMemory`.
    fuse : str
        A name of `FUSIONS`.
    layout : str
        A name of `LAYOUTS`.
    stem_channels, growth, layers_per_block
        See `DenseGenerator`.
    noise_size : int
        Length of the fresh noise in v.
    prior_fraction : float
        Share of a mixed batch whose query is N(0, I) instead of an encoded CT slice.
    normalise_query : bool
        Whether encoded slices pass a batch normalisation.
    shuffle_contexts : bool
        Whether each query gets the context of its neighbour in the batch: an ablation, which leaves
        everything but the tie between query and context.
    sample_query : str
        A name of `QUERIES`, for sampling.
    output, filter_px
        See `layers.output`.
    """

    def __init__(
        self,
        image_size: int,
        latent_size: int,
        vae_channels: int,
        bank_shape: tuple[int, int],
        attention: str,
        kappa: float,
        logit_std: float,
        is_projected: bool,
        fuse: str,
        layout: str,
        stem_channels: int,
        growth: int,
        layers_per_block: int,
        noise_size: int,
        prior_fraction: float,
        normalise_query: bool,
        shuffle_contexts: bool,
        sample_query: str,
        output: str,
        filter_px: float,
    ) -> None:
        super().__init__()
        context_size = bank_shape[1]
        sizes = {
            "normalised_context": context_size,
            "context": context_size,
            "attentional": context_size,
            "query": latent_size,
            "noise": noise_size,
        }
        self.noise_size = noise_size
        self.prior_fraction = prior_fraction
        self.shuffle_contexts = shuffle_contexts
        self.sample_query = sample_query
        self.parts = FUSIONS[fuse]
        self.vae = ConvVAE(image_size, latent_size, vae_channels)
        self.query_norm: nn.Module = nn.Identity()
        if normalise_query:
            self.query_norm = nn.BatchNorm1d(latent_size, affine=False)
        self.memory = AttentionMemory(
            latent_size, bank_shape, attention, kappa, logit_std, is_projected
        )
        self.context_norm = nn.BatchNorm1d(context_size, affine=False)
        if "attentional" in self.parts:
            self.attentional = nn.Linear(context_size + latent_size, context_size)  # W_c
        self.generator = LAYOUTS[layout](
            sum(sizes[part] for part in self.parts),
            image_size,
            stem_channels,
            growth,
            layers_per_block,
            output_layer(output, image_size, filter_px),
        )

    def forward(
        self, ct: Tensor, code_noise: Tensor, prior: Tensor, noise: Tensor, source: str = "mixed"
    ) -> Generated:
        """Generate one image per CT slice.

        Parameters
        ----------
        ct : tensor, shape (B, 1, H, W)
            In [-1, 1].
        code_noise, prior : tensor, shape (B, d_z)
            N(0, 1): for the reparametrisation, and instead of the code.
        noise : tensor, shape (B, noise_size)
            N(0, 1), goes into v.
        source : str
            A name of `QUERIES`.
        """
        mu, log_var = self.vae.encode(ct)
        code = mu + torch.exp(0.5 * log_var) * code_noise
        parts = Code(self.query_norm(code), self.query_norm(mu), prior)
        query = QUERIES[source](parts, self.prior_fraction)  # (B, d_z)
        context, log_attention = self.memory(query)
        if self.shuffle_contexts:
            context = context.roll(1, dims=0)
        vector = self.fused(context, query, noise)
        return Generated(self.generator(vector), log_attention, code, mu, log_var)

    def fused(self, context: Tensor, query: Tensor, noise: Tensor) -> Tensor:
        """Return v, shape (B, n), from context (B, d_y), query (B, d_z) and noise."""
        parts: dict[str, Callable[[], Tensor]] = {
            "normalised_context": lambda: self.context_norm(context),
            "context": lambda: context,
            "attentional": lambda: self.attentional(torch.cat([context, query], dim=1)).tanh(),
            "query": lambda: query,
            "noise": lambda: noise,
        }
        return torch.cat([parts[part]() for part in self.parts], dim=1)

    def draw_noise(self, num: int, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return the three random inputs of `forward` for `num` images, on the CPU."""
        sizes = (self.vae.latent_size, self.vae.latent_size, self.noise_size)
        code_noise, prior, noise = (torch.randn(num, size, generator=rng) for size in sizes)
        return code_noise, prior, noise


def _memory(config: Config, data: Data) -> Tensor:
    """Return the slots that the memory holds, shape (S, d_y)."""
    assert data.bank is not None
    return memory_bank(data.bank, data.num_pca, config["features"], config["slots"])


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
    if config["slots"] != "image" and config["pairing"] in ATTENTIVE:
        others = ", ".join(name for name in PAIRINGS if name not in ATTENTIVE)
        raise InputError(
            f"gan.paper.pairing: got {config['pairing']} with slots {config['slots']}, expected "
            f"slots image, whose attention is one over training slices, or one of {others}"
        )
    keys = (
        "attention", "kappa", "logit_std", "fuse", "layout", "stem_channels", "growth",
        "layers_per_block", "noise_size", "prior_fraction", "normalise_query",
        "shuffle_contexts", "sample_query", "output", "filter_px",
    )  # fmt: skip
    return {
        "image_size": data.real.image_size,
        "latent_size": data.vae.latent_size,
        "vae_channels": data.vae.channels,
        "bank_shape": list(_memory(config, data).shape),
        "is_projected": config["features"] == "projected",
        **{key: config[key] for key in keys},
    }


def make_generator(arguments: Mapping[str, Any]) -> AttentionMemoryGenerator:
    """Return a fresh generator, its memory still empty."""
    return AttentionMemoryGenerator(**arguments)


def make_networks(config: Config, data: Data) -> Networks:
    """Return the generator with the pretrained encoder and the bank in place, and the PatchGAN."""
    assert data.vae is not None
    generator = make_generator(generator_arguments(config, data))
    generator.vae.load_state_dict(data.vae.state_dict())
    generator.memory.bank.copy_(_memory(config, data))
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

    L = L_GAN + apg_weight L_APG + vae_weight L_VAE - entropy_weight H(a). The discriminator's
    features of the real batch serve both its own loss and L_APG.
    """
    config, data = run.config, run.data
    generator, critic = run.networks["generator"], run.networks["critic"]
    loss, reduce, pair = (
        ADVERSARIAL["bce"], REDUCE[config["reduce"]], PAIRINGS[config["pairing"]]
    )  # fmt: skip
    assert data.ct is not None

    positron, positions = run.next_batch("real", data.real)
    ct, _ = run.next_batch("ct", data.ct)
    transform = run.transform()
    noise = (run.own(n) for n in generator.draw_noise(config["batch_size"], run.rng))
    generated: Generated = generator(ct, *noise)
    fake = transform(generated.image)

    def look(slots: Tensor) -> list[Tensor]:
        layers: list[Tensor] = critic(transform(run.fabric.to_device(data.real.batch(slots))))[1]
        return layers

    real = transform(REAL[config["real"]](positron, ct))
    real_logits, layers = critic(real)
    if config["real"] != "positron":
        layers = look(positions)
    batch = Batch(layers, positions, generated.log_attention, look, run.rng)
    fake_logits, fake_layers = critic(fake.detach())
    critic_loss = loss.critic(reduce(real_logits), reduce(fake_logits))
    if config["apg_margin"] > 0:
        gap = torch.relu(config["apg_margin"] - pair(batch, fake_layers))
        critic_loss = critic_loss + config["apg_weight"] * gap
    penalty = run.regularisation(lambda x: bare(critic)(x)[0], real, real_logits, fake_logits)
    run.update("critic", critic_loss + penalty)

    with frozen(critic):
        fake_logits, fake_layers = critic(fake)
        perceptual = pair(batch._replace(real_layers=[x.detach() for x in layers]), fake_layers)
        adversarial = loss.generator(reduce(fake_logits))
        residual = (ct - generator.vae.decode(generated.code)).square().sum((1, 2, 3))
        nll = residual.mean() / (2 * config["sigma_x"] ** 2)
        kl = gaussian_kl(generated.mu, generated.log_var).mean()
        entropy = mean_entropy(generated.log_attention)
        total = (
            adversarial
            + config["apg_weight"] * perceptual
            + config["vae_weight"] * (nll + config["beta"] * kl)
            - config["entropy_weight"] * entropy
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
        "effective_slots": entropy.exp(),
    }


def sample(generator: nn.Module, num: int, data: Data, rng: torch.Generator) -> Tensor:
    """Generate with random training CT slices as queries, or as `sample_query` says."""
    assert data.ct is not None and isinstance(generator, AttentionMemoryGenerator)
    device = generator.memory.bank.device
    images = []
    for start in range(0, num, SAMPLE_CHUNK):
        size = min(SAMPLE_CHUNK, num - start)
        positions = torch.randint(len(data.ct), (size,), generator=rng)
        inputs = [data.ct.batch(positions), *generator.draw_noise(size, rng)]
        on_device = (x.to(device) for x in inputs)
        images.append(generator(*on_device, source=generator.sample_query).image.cpu())
    return torch.cat(images)
