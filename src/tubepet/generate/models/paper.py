"""The paper's model: a query from a CT slice, an attention memory of positron features, and a GAN.

x_ct -> encoder -> z -> attention over the bank -> context c -> v = [BN(c); z; noise] -> generator.

Where the paper is silent or contradicts itself, docs/model.md decides. Each decision is a key of
`generate.paper`. Its values are the names in a table: `QUERIES`, `FUSIONS`, `REAL`, `REDUCE` and
`PAIRINGS` here, `SLOTS` and `SCORES` in layers/memory.py, `LAYOUTS` in layers/dense_generator.py.
Defaults are our choices; config/paper_literal.yaml follows the text to the letter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from tubepet.errors import InputError
from tubepet.generate.data import Data
from tubepet.generate.layers.dense_generator import LAYOUTS
from tubepet.generate.layers.extractor import Extractor
from tubepet.generate.layers.loss import ADVERSARIAL, attention_perceptual, frozen
from tubepet.generate.layers.memory import AttentionMemory, Fresh, mean_entropy, memory_bank
from tubepet.generate.layers.output import output_layer
from tubepet.generate.layers.patch_critic import PatchDiscriminator
from tubepet.generate.run import Config, Inputs, Model, Networks, Run, bare, needed
from tubepet.pretrain.vae import ConvVAE, gaussian_kl
from tubepet.training.processes import mean_of_processes

Layers = Sequence[Tensor]


class Code(NamedTuple):
    """Queries to choose from, each (B, d_z): codes of CT slices, their means, and N(0, I)."""

    posterior: Tensor
    mean: Tensor
    prior: Tensor


def _mixed(code: Code, prior_fraction: float) -> Tensor:
    num_prior = round(prior_fraction * len(code.prior))
    return torch.cat([code.prior[:num_prior], code.posterior[num_prior:]])


# Where queries come from (docs/model.md A17). Training always mixes; sampling has the choice.
QUERIES: dict[str, Callable[[Code, float], Tensor]] = {
    "mixed": _mixed,
    "prior": lambda code, _: code.prior,
    "ct_posterior": lambda code, _: code.posterior,
    "ct_mean": lambda code, _: code.mean,
}

# Parts of the generator's vector v (docs/model.md A6). The part "attentional" is Luong's
# tanh(W_c [c; z]); the fusion "query" leaves the memory out.
FUSIONS = {
    "normalised_concat": ("normalised_context", "query", "noise"),
    "concat": ("context", "query"),
    "context": ("context",),
    "tanh_concat": ("attentional",),
    "query": ("query", "noise"),
}

# Images that the discriminator gets as real, from a positron and a CT batch (docs/model.md A10).
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


@dataclass(frozen=True)
class Architecture:
    """Constructor arguments of the generator.

    Attributes
    ----------
    image_size, latent_size, vae_channels : int
        Of the encoder, see `ConvVAE`.
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
        Length of the noise in v.
    prior_fraction : float
        Share of a mixed batch whose query is drawn from N(0, I), not encoded from a CT slice.
    normalise_query : bool
        Whether codes of slices pass a batch normalisation.
    shuffle_contexts : bool
        Whether each query gets the context of its neighbour in the batch. This ablation removes
        only the relation between query and context.
    sample_query : str
        A name of `QUERIES`, for sampling.
    output, filter_px
        See `layers.output`.
    """

    image_size: int
    latent_size: int
    vae_channels: int
    bank_shape: tuple[int, int]
    attention: str
    kappa: float
    logit_std: float
    is_projected: bool
    fuse: str
    layout: str
    stem_channels: int
    growth: int
    layers_per_block: int
    noise_size: int
    prior_fraction: float
    normalise_query: bool
    shuffle_contexts: bool
    sample_query: str
    output: str
    filter_px: float


class AttentionMemoryGenerator(nn.Module):
    """Encoder, memory and dense generator. All are averaged in training, and used in sampling."""

    def __init__(self, its: Architecture) -> None:
        super().__init__()
        context_size = its.bank_shape[1]
        sizes = {
            "normalised_context": context_size,
            "context": context_size,
            "attentional": context_size,
            "query": its.latent_size,
            "noise": its.noise_size,
        }
        self.noise_size = its.noise_size
        self.prior_fraction = its.prior_fraction
        self.shuffle_contexts = its.shuffle_contexts
        self.sample_query = its.sample_query
        self.parts = FUSIONS[its.fuse]
        self.vae = ConvVAE(its.image_size, its.latent_size, its.vae_channels)
        self.query_norm: nn.Module = nn.Identity()
        if its.normalise_query:
            self.query_norm = nn.BatchNorm1d(its.latent_size, affine=False)
        self.memory = AttentionMemory(
            its.latent_size, its.bank_shape, its.attention, its.kappa, its.logit_std,
            its.is_projected,
        )  # fmt: skip
        self.context_norm = nn.BatchNorm1d(context_size, affine=False)
        if "attentional" in self.parts:
            self.attentional = nn.Linear(context_size + its.latent_size, context_size)  # W_c
        self.generator = LAYOUTS[its.layout](
            sum(sizes[part] for part in self.parts),
            its.image_size,
            its.stem_channels,
            its.growth,
            its.layers_per_block,
            output_layer(its.output, its.image_size, its.filter_px),
        )

    def forward(
        self, ct: Tensor, code_noise: Tensor, prior: Tensor, noise: Tensor, source: str = "mixed",
        fresh: Fresh | None = None,
    ) -> Generated:  # fmt: skip
        """Generate one image per CT slice.

        Parameters
        ----------
        ct : tensor, shape (B, 1, H, W)
            In [-1, 1].
        code_noise, prior : tensor, shape (B, d_z)
            N(0, 1), for the reparametrisation and in place of the code.
        noise : tensor, shape (B, noise_size)
            N(0, 1), a part of v.
        source : str
            A name of `QUERIES`.
        fresh : Fresh, optional
            Slots of the memory that were extracted again.
        """
        mu, log_var = self.vae.encode(ct)
        code = mu + torch.exp(0.5 * log_var) * code_noise
        parts = Code(self.query_norm(code), self.query_norm(mu), prior)
        query = QUERIES[source](parts, self.prior_fraction)  # (B, d_z)
        context, log_attention = self.memory(query, fresh)
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


class Batch(NamedTuple):
    """The data of a pairing: which real image L_APG compares with which generated one.

    Eq. 9 leaves this joint distribution p(x, a) open (docs/model.md A12). With partners unrelated
    to the query, the generator tends to the median image (docs/notes/2026-11-model.md).

    Attributes
    ----------
    real_layers : sequence of tensor, each (B, ...)
        Hidden layers of the discriminator for the real positron batch.
    positions : int64 tensor, shape (B,)
        Numbers of these training slices; slot s of the memory is slice s.
    log_attention : tensor, shape (B, S)
        Of the generated batch.
    look : function
        Positions of training slices -> their hidden layers.
    rng : torch.Generator
        On the CPU.
    """

    real_layers: Layers
    positions: Tensor
    log_attention: Tensor
    look: Callable[[Tensor], Layers]
    rng: torch.Generator


def assign(log_attention: Tensor) -> Tensor:
    """Pair every query with one real image so that the sum of log attention is largest.

    Each real image is used once, so they stay a uniform batch (docs/notes/2026-11-model.md).

    Parameters
    ----------
    log_attention : tensor, shape (B, B)
        Row: query; column: real image of the batch.

    Returns
    -------
    int64 tensor, shape (B,)
        The column of each row (Hungarian method).
    """
    _, columns = linear_sum_assignment(log_attention.detach().cpu().numpy(), maximize=True)
    return torch.from_numpy(columns).to(log_attention.device)


def _assignment(batch: Batch, fake_layers: Layers) -> Tensor:
    partner = assign(batch.log_attention[:, batch.positions])
    return attention_perceptual([x[partner] for x in batch.real_layers], fake_layers)


def _attention_sample(batch: Batch, fake_layers: Layers) -> Tensor:
    attention = batch.log_attention.detach().exp().cpu()
    slots = torch.multinomial(attention, 1, generator=batch.rng).flatten()
    return attention_perceptual(batch.look(slots), fake_layers)


def _attention_weighted(batch: Batch, fake_layers: Layers) -> Tensor:
    weights = batch.log_attention[:, batch.positions].detach().softmax(dim=1)  # rows sum to 1
    terms = []
    for x, f in zip(batch.real_layers, fake_layers, strict=True):
        distance = torch.cdist(f.flatten(1), x.flatten(1), p=1) / x[0].numel()
        terms.append((weights * distance).sum(dim=1).mean())
    return torch.stack(terms).sum()


def _random(batch: Batch, fake_layers: Layers) -> Tensor:
    return attention_perceptual(batch.real_layers, fake_layers)


def _batch_mean(batch: Batch, fake_layers: Layers) -> Tensor:
    means = [
        [mean_of_processes(x.mean(0, keepdim=True)) for x in side]
        for side in (batch.real_layers, fake_layers)
    ]
    return attention_perceptual(*means)


# assignment: see `assign`;
# attention_sample: slice s with probability a(s), by one more pass of the discriminator;
# attention_weighted: mean over the real batch, weighted by attention;
# random: the real batch in its random order;
# batch_mean: means of the two batches (feature matching, Salimans et al. 2016, arXiv:1606.03498,
# section 3.1).
PAIRINGS: dict[str, Callable[[Batch, Layers], Tensor]] = {
    "assignment": _assignment,
    "attention_sample": _attention_sample,
    "attention_weighted": _attention_weighted,
    "random": _random,
    "batch_mean": _batch_mean,
}

REPEATED = "repeated"  # value of `features`: extracted again by a network that is trained

# pairings that need one slot per training slice
ATTENTIVE = ("assignment", "attention_sample", "attention_weighted")


class Paper(Model):
    """The paper's model, queried with CT slices."""

    name = "paper"
    network = AttentionMemoryGenerator
    argument_keys = (
        "attention", "kappa", "logit_std", "fuse", "layout", "stem_channels", "growth",
        "layers_per_block", "noise_size", "prior_fraction", "normalise_query",
        "shuffle_contexts", "sample_query", "output", "filter_px",
    )  # fmt: skip
    adam_betas = (0.5, 0.999)  # beta1: the paper, section 4.1
    why_no_graph = "it is queried with CT slices, a batch of them mixed as in training"

    def generator_arguments(self, config: Config, data: Data) -> dict[str, Any]:
        """Return the fields of `Architecture`.

        Raises
        ------
        InputError
            If bank or encoder do not belong to the image sets, or slots and pairing not together.
        """
        vae, num_slots = needed(data.vae), len(needed(data.bank))
        if num_slots != len(data.real):
            raise InputError(
                f"bank.safetensors: got {num_slots} slots, expected {len(data.real)}, one per "
                "training slice"
            )
        ct_size, size = needed(data.ct).image_size, data.real.image_size
        if not vae.image_size == ct_size == size:
            raise InputError(
                f"vae.json: the encoder sees {vae.image_size} pixels, CT slices have {ct_size}, "
                f"positron slices {size}, expected one size"
            )
        if config["features"] == REPEATED and config["slots"] != "image":
            raise InputError(
                f"generate.paper.slots: got {config['slots']} with features {REPEATED}, expected "
                "image: features of slices are extracted again"
            )
        if config["slots"] != "image" and config["pairing"] in ATTENTIVE:
            others = ", ".join(name for name in PAIRINGS if name not in ATTENTIVE)
            raise InputError(
                f"generate.paper.pairing: got {config['pairing']} with slots {config['slots']}, "
                "expected slots image, whose attention is one over training slices, or one of "
                f"{others}"
            )
        return super().generator_arguments(config, data) | {
            "latent_size": vae.latent_size,
            "vae_channels": vae.channels,
            "bank_shape": list(_slots(config, data).shape),
            "is_projected": config["features"] == "projected",
        }

    def make_generator(self, arguments: Mapping[str, Any]) -> AttentionMemoryGenerator:
        """Return a fresh generator, its memory still empty."""
        return AttentionMemoryGenerator(Architecture(**arguments))

    def make_critic(self, config: Config, data: Data) -> PatchDiscriminator:
        """Return a fresh PatchGAN."""
        return PatchDiscriminator(config["disc_channels"], data.real.image_size)

    def make_networks(self, config: Config, data: Data) -> Networks:
        """Return generator and critic, with the pretrained encoder and the bank."""
        networks = super().make_networks(config, data)
        networks["generator"].vae.load_state_dict(needed(data.vae).state_dict())
        slots = _slots(config, data)
        if config["features"] == REPEATED:
            networks["extractor"] = Extractor(needed(data.features))
            slots = networks["extractor"].adapt(data.real.batch, len(data.real))
        networks["generator"].memory.bank.copy_(slots)
        return networks

    def make_optimizers(self, config: Config, networks: Networks) -> dict[str, Optimizer]:
        """Return Adam for both networks; the encoder has `encoder_learning_rate`."""
        named = dict(networks["generator"].named_parameters())
        encoder = [p for name, p in named.items() if name.startswith("vae.")]
        others = [p for name, p in named.items() if not name.startswith("vae.")]
        groups = [
            {"params": others, "lr": config["learning_rate"]},
            {"params": encoder, "lr": config["encoder_learning_rate"]},
        ]
        optimizers: dict[str, Optimizer] = super().make_optimizers(config, networks)
        optimizers["generator"] = Adam(groups, betas=self.adam_betas)
        if "extractor" in networks:  # it is trained before, as the encoder
            rate = config["encoder_learning_rate"]
            optimizers["extractor"] = Adam(
                networks["extractor"].parameters(), lr=rate, betas=self.adam_betas
            )
        return optimizers

    def train_step(self, run: Run) -> dict[str, Tensor]:
        """Take a step of the discriminator, then of generator, attention and encoder (eq. 10).

        L = L_GAN + apg_weight L_APG + vae_weight L_VAE - entropy_weight H(a). L_APG uses the hidden
        layers of the discriminator's step on the real batch.
        """
        config, data = run.config, run.data
        generator, critic = run.networks["generator"], run.networks["critic"]
        reduce, pair = REDUCE[config["reduce"]], PAIRINGS[config["pairing"]]
        loss = ADVERSARIAL["bce"]

        positron, positions = run.next_batch("real", data.real)
        ct, _ = run.next_batch("ct", needed(data.ct))
        transform = run.transform()
        noise = (run.own(n) for n in generator.draw_noise(config["batch_size"], run.rng))
        fresh = _extracted_again(run, positron, positions)
        generated: Generated = generator(ct, *noise, fresh=fresh)
        fake = transform(generated.image)

        def look(slots: Tensor) -> list[Tensor]:
            shown = transform(run.fabric.to_device(data.real.batch(slots)))
            return critic(shown)[1]

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
            run.update("generator", total, *([] if fresh is None else ["extractor"]))
            if fresh is not None:
                bare(generator).memory.bank[fresh.positions] = fresh.features.detach()
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

    def draw_inputs(self, network: Any, num: int, data: Data, rng: torch.Generator) -> Inputs:
        """Return random training CT slices as queries, and the noise of `draw_noise`."""
        ct = needed(data.ct)
        slices = ct.batch(torch.randint(len(ct), (num,), generator=rng))
        code_noise, prior, noise = network.draw_noise(num, rng)
        return {"ct": slices, "code_noise": code_noise, "prior": prior, "noise": noise}

    def make_images(self, network: Any, *inputs: Tensor) -> Tensor:
        """Generate images with the queries that `sample_query` names."""
        return network(*inputs, source=network.sample_query).image


def _extracted_again(run: Run, positron: Tensor, positions: Tensor) -> Fresh | None:
    """Return the slots of the real batch, by the extractor that is trained; None if there is none.

    So every slot is extracted again once in an epoch, and carries the gradient of its batch.

    Raises
    ------
    InputError
        If several processes share the batch: each would know its own slots only.
    """
    if "extractor" not in run.networks:
        return None
    if run.fabric.world_size > 1:
        raise InputError(
            f"generate.num_processes: got {run.fabric.world_size}, expected 1 with "
            f"generate.paper.features {REPEATED}"
        )
    return Fresh(run.fabric.to_device(positions), run.networks["extractor"](positron))


def _slots(config: Config, data: Data) -> Tensor:
    """Return the slots of the memory, shape (S, d_y)."""
    return memory_bank(needed(data.bank), data.num_pca, config["features"], config["slots"])
