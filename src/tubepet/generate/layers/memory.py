"""The paper's attention memory: codes of CT slices query features of positron slices (eq. 6).

A query is compared with every slot of the memory. The answer, called context, is the mean of the
slots, weighted by the softmax of these scores. Training changes the alignment `W_a` and the encoder
that makes the query; the features only if they are extracted again (layers/extractor.py).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


def _slices(features: Tensor) -> Tensor:
    return features


def _components(features: Tensor) -> Tensor:
    _, singular, axes = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    return singular[:, None] * axes / math.sqrt(len(features))


# What a slot is (docs/model.md A4): a training slice, (S, d_y) -> (S, d_y), or a principal axis of
# the features of all slices, (S, d_y) -> (min(S, d_y), d_y), times the standard deviation along it.
SLOTS = {"image": _slices, "component": _components}


def memory_bank(bank: Tensor, num_pca: int, features: str, slots: str) -> Tensor:
    """Return the slots y_s of a memory.

    Parameters
    ----------
    bank : tensor, shape (S, d)
        Features of the training slices. The first `num_pca` are PCA scores, the others come from
        PCANet.
    features : {"both", "pca", "pcanet", "projected", "repeated"}
        Features that a slot holds (docs/model.md A3): with the last two both.
    slots : {"image", "component"}
        See `SLOTS`.
    """
    columns = {"pca": slice(num_pca), "pcanet": slice(num_pca, None)}
    return SLOTS[slots](bank[:, columns.get(features, slice(None))])


def _cosine(aligned: Tensor, bank: Tensor, kappa: float) -> Tensor:
    return kappa * functional.normalize(aligned, dim=-1) @ functional.normalize(bank, dim=-1).mT


def _bilinear(aligned: Tensor, bank: Tensor, kappa: float) -> Tensor:
    return aligned @ bank.mT


def _scaled_bilinear(aligned: Tensor, bank: Tensor, kappa: float) -> Tensor:
    return aligned @ bank.mT / math.sqrt(bank.shape[-1])


# score(z, y_s) from W_a^T z (.., B, d_y) and the slots (.., S, d_y), see docs/model.md A5.
# cosine: kappa times a cosine, so in [-kappa, kappa] whatever the scale of z and W_a;
# bilinear: the paper's eq. 6;
# scaled_bilinear: eq. 6 over the root of d_y (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).
SCORES = {"cosine": _cosine, "bilinear": _bilinear, "scaled_bilinear": _scaled_bilinear}


class Fresh(NamedTuple):
    """Slots that were extracted again: their numbers (B,), and their features (B, d_y)."""

    positions: Tensor
    features: Tensor


class AttentionMemory(nn.Module):
    """Global attention over a bank of feature vectors (Luong et al. 2015, "general" score).

    Parameters
    ----------
    query_size : int
        d_z.
    bank_shape : (int, int)
        (S, d_y).
    attention : str
        A name of `SCORES`.
    kappa : float
        Concentration of the cosine score.
    logit_std : float
        Standard deviation of z^T W_a y at the start, for z and y of unit variance.
    is_projected : bool
        Whether the slots pass a learned linear map, which starts as the identity.

    References
    ----------
    The paper, eq. 6; Luong, Pham, Manning 2015, doi:10.18653/v1/D15-1166, eq. 8.
    """

    bank: Tensor

    def __init__(
        self,
        query_size: int,
        bank_shape: tuple[int, int],
        attention: str,
        kappa: float,
        logit_std: float,
        is_projected: bool,
    ) -> None:
        super().__init__()
        num_slots, feature_size = bank_shape
        self.score = SCORES[attention]
        self.kappa = kappa
        std = logit_std / math.sqrt(query_size * feature_size)
        self.alignment = nn.Parameter(std * torch.randn(query_size, feature_size))  # W_a
        self.projection: nn.Module = nn.Identity()
        if is_projected:
            self.projection = nn.Linear(feature_size, feature_size, bias=False)
            nn.init.eye_(self.projection.weight)
        self.register_buffer("bank", torch.zeros(num_slots, feature_size))

    def forward(self, query: Tensor, fresh: Fresh | None = None) -> tuple[Tensor, Tensor]:
        """Look up a batch of queries.

        Parameters
        ----------
        query : tensor, shape (B, d_z)
        fresh : Fresh, optional
            Slots that stand for those of the bank.

        Returns
        -------
        context : tensor, shape (B, d_y)
            sum_s a(s) y_s.
        log_attention : tensor, shape (B, S)
            log a(s); exp sums to one over s.
        """
        bank = self.bank if fresh is None else self.bank.index_copy(0, *fresh)
        slots = self.projection(bank)  # (S, d_y)
        score = self.score(query @ self.alignment, slots, self.kappa)  # (B, S)
        log_attention = functional.log_softmax(score, dim=1)
        return log_attention.exp() @ slots, log_attention


def mean_entropy(log_attention: Tensor) -> Tensor:
    """Return the mean entropy of the attention in nats; its exp is the number of slots in use."""
    return -(log_attention.exp() * log_attention).sum(dim=1).mean()
