"""The joint p(x, a) of L_APG: which real image a generated one is compared with (A12).

The paper's eq. 9 takes the expectation over (x, a) ~ p(x, a) and does not say what that is.
docs/model.md, prototypes: a partner that has nothing to do with the query pulls the generator to
the median image.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from tubepet.generate.layers.loss import attention_perceptual
from tubepet.training.processes import mean_of_processes

Layers = Sequence[Tensor]


class Batch(NamedTuple):
    """What a pairing may use.

    Attributes
    ----------
    real_layers : sequence of tensor, each (B, ...)
        Hidden layers of the discriminator for the real positron batch.
    positions : int64 tensor, shape (B,)
        Which training slices these are: slot s of the memory is slice s.
    log_attention : tensor, shape (B, S)
        Of the generated batch.
    look : function
        From positions of training slices to their hidden layers.
    rng : torch.Generator
        On the CPU.
    """

    real_layers: Layers
    positions: Tensor
    log_attention: Tensor
    look: Callable[[Tensor], Layers]
    rng: torch.Generator


def assign(log_attention: Tensor) -> Tensor:
    """Pair every query with one real image so that the summed log attention is largest.

    The real images stay a uniform batch (each is used once), and each query gets the one that it
    attends to (docs/model.md, prototypes).

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


# assignment: see `assign`; attention_sample: slice s with probability a(s), one more pass of the
# discriminator; attention_weighted: the mean over the real batch, weighted by attention; random:
# the real batch as it comes; batch_mean: only the means of the two batches (feature matching,
# Salimans et al. 2016, arXiv:1606.03498, section 3.1).
PAIRINGS: dict[str, Callable[[Batch, Layers], Tensor]] = {
    "assignment": _assignment,
    "attention_sample": _attention_sample,
    "attention_weighted": _attention_weighted,
    "random": _random,
    "batch_mean": _batch_mean,
}

# these read the attention as one over training slices
ATTENTIVE = ("assignment", "attention_sample", "attention_weighted")
