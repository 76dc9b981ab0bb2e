"""The attention memory: medical queries look up features of positron slices (eq. 6).

One slot per training slice. The features are frozen; what learns is the alignment `W_a`, the query
(through the encoder that made it) and everything after the context.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

INITIAL_LOGIT_STD = 3.0  # docs/model.md A5: 1 gives the mean image, 8 a lookup table (300 slots)


class AttentionMemory(nn.Module):
    """Global attention over a bank of feature vectors (Luong et al. 2015, "general" score).

    ``bilinear``: score(z, y_s) = z^T W_a y_s, as printed in the paper's eq. 6.
    ``cosine``: score = kappa cos(W_a^T z, y_s), which cannot saturate: the logits stay in
    [-kappa, kappa] whatever the scale of z and W_a.

    Parameters
    ----------
    query_size : int
        d_z.
    bank_shape : (int, int)
        (S, d_y).
    attention : {"cosine", "bilinear"}
        The score.
    kappa : float
        Concentration of the cosine score.

    References
    ----------
    The paper, eq. 6; Luong, Pham, Manning 2015, doi:10.18653/v1/D15-1166, eq. 8.
    """

    bank: Tensor

    def __init__(
        self, query_size: int, bank_shape: tuple[int, int], attention: str, kappa: float
    ) -> None:
        super().__init__()
        num_slots, feature_size = bank_shape
        self.attention = attention
        self.kappa = kappa
        std = INITIAL_LOGIT_STD / math.sqrt(query_size * feature_size)  # z and y have unit variance
        self.alignment = nn.Parameter(std * torch.randn(query_size, feature_size))  # W_a
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
        aligned = query @ self.alignment  # (B, d_y)
        if self.attention == "cosine":
            unit_bank = functional.normalize(self.bank, dim=1)
            score = self.kappa * functional.normalize(aligned, dim=1) @ unit_bank.T
        else:
            score = aligned @ self.bank.T  # (B, S)
        log_attention = functional.log_softmax(score, dim=1)
        return log_attention.exp() @ self.bank, log_attention


def effective_slots(log_attention: Tensor) -> Tensor:
    """Return exp of the mean entropy: how many slots a query uses (1: lookup, S: mean image)."""
    return (-(log_attention.exp() * log_attention).sum(dim=1)).mean().exp()
