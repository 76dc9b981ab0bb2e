"""Attention memories: of the paper, and of ours.

The paper's: medical queries look up features of positron slices (eq. 6). The features are frozen;
what learns is the alignment `W_a`, the query (through the encoder that made it) and everything
after the context. Ours: a place along a tube looks up what slices of about that place have.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn
from torch.nn import functional


def _slices(features: Tensor) -> Tensor:
    return features


def _components(features: Tensor) -> Tensor:
    _, singular, axes = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    return singular[:, None] * axes / math.sqrt(len(features))


# What a slot is (docs/model.md A4): a training slice, (S, d_y) -> (S, d_y), or a principal axis of
# their features, as long as their spread along it, (S, d_y) -> (min(S, d_y), d_y).
SLOTS = {"image": _slices, "component": _components}


def memory_bank(bank: Tensor, num_pca: int, features: str, slots: str) -> Tensor:
    """Return the slots y_s of a memory.

    Parameters
    ----------
    bank : tensor, shape (S, d)
        Features of the training slices, of which the first `num_pca` are PCA scores and the others
        come from PCANet.
    features : {"both", "pca", "pcanet", "projected"}
        Which of them a slot holds (docs/model.md A3).
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


# score(z, y_s) from W_a^T z (.., B, d_y) and the slots (.., S, d_y) (docs/model.md A5): kappa times
# a cosine, whose logits stay in [-kappa, kappa] whatever the scale of z and W_a; the paper's eq. 6;
# eq. 6 divided by the root of d_y (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).
SCORES = {"cosine": _cosine, "bilinear": _bilinear, "scaled_bilinear": _scaled_bilinear}


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
        Spread of z^T W_a y over the slots at the start, for z and y of unit variance.
    is_projected : bool
        Whether a learned linear map, at the start the identity, stands before the slots.

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

    def forward(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Look up a batch of queries.

        Parameters
        ----------
        query : tensor, shape (B, d_z)

        Returns
        -------
        context : tensor, shape (B, d_y)
            sum_s a(s) y_s.
        log_attention : tensor, shape (B, S)
            log a(s); exp sums to one over s.
        """
        slots = self.projection(self.bank)  # (S, d_y)
        score = self.score(query @ self.alignment, slots, self.kappa)  # (B, S)
        log_attention = functional.log_softmax(score, dim=1)
        return log_attention.exp() @ slots, log_attention


def mean_entropy(log_attention: Tensor) -> Tensor:
    """Return the mean entropy of the attention in nats; its exp is how many slots a query uses."""
    return -(log_attention.exp() * log_attention).sum(dim=1).mean()


# Standard deviations of the kernel to choose from: from below the distance of two slices to where
# ends and middle of a tube are about the same.
KERNELS_MM = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)


class PlaceMemory(nn.Module):
    """Attention whose slots have a place as key and a number as value; nothing is learned.

    The score of a slot is the logarithm of a Gaussian kernel of its distance from the query, so
    that the context is the kernel regression of Nadaraya and Watson. Without slots it is 0.

    Parameters
    ----------
    num_slots : int

    References
    ----------
    Watson 1964, Sankhya A 26, 359; attention in this form: Zhang et al., Dive into Deep Learning
    (arXiv:2106.11342), section 11.2.
    """

    keys_mm: Tensor
    values: Tensor
    kernel_mm: Tensor

    def __init__(self, num_slots: int) -> None:
        super().__init__()
        self.register_buffer("keys_mm", torch.zeros(num_slots))
        self.register_buffer("values", torch.zeros(num_slots))
        self.register_buffer("kernel_mm", torch.ones(()))

    def forward(self, query_mm: Tensor) -> Tensor:
        """Return the context of each query, (B,) -> (B,)."""
        score = -((query_mm[:, None] - self.keys_mm) / self.kernel_mm).square() / 2
        return (score.softmax(dim=1) * self.values).sum(1)


def choose_kernel_mm(
    keys_mm: NDArray[np.float64], values: NDArray[np.float64], tubes: NDArray[np.str_]
) -> tuple[float, NDArray[np.float64]]:
    """Choose the kernel of a `PlaceMemory` by leaving tubes out.

    Parameters
    ----------
    keys_mm, values : array, shape (S,)
        Of the slots.
    tubes : array, shape (S,)
        The tube of each slot.

    Returns
    -------
    kernel_mm : float
        Of `KERNELS_MM`: whose contexts are nearest to the values, mean square, when no slot of a
        query's own tube is seen; with a single tube, the widest.
    contexts : array, shape (S,)
        What slots of other tubes say (with a single tube: all slots).
    """
    square_mm2 = np.square(keys_mm[:, None] - keys_mm)
    is_seen, first = tubes[:, None] != tubes, 0
    if not is_seen.any():
        is_seen, first = ~is_seen, -1
    found = []
    for kernel_mm in KERNELS_MM[first:]:
        score = np.where(is_seen, -square_mm2 / (2 * kernel_mm**2), -np.inf)
        contexts = softmax(score, axis=1) @ values
        found.append((float(np.square(contexts - values).mean()), kernel_mm, contexts))
    _, kernel_mm, contexts = min(found, key=lambda one: one[0])
    return kernel_mm, contexts
