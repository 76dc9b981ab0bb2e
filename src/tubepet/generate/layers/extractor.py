"""The features of `features.bank` as a network that training can change.

The paper lets "the feature extraction network extract the features repeatedly". PCANet's hashing
has no gradient, so here a sigmoid hashes, and a code counts for the two bins beside it. With an
infinite steepness these are PCANet's histograms (docs/model.md, A3). They are standardised anew, so
what a soft hash changes everywhere does not count.

Histograms take 3 x 2^L2 numbers for each pixel and first filter, so memory grows with
`features.pcanet_num_filters`.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

STEEPNESS = 20.0  # of the hash, over the spread of the responses
CHUNK_IMAGES = 64  # extracted at once, which bounds the memory


class Extractor(nn.Module):
    """PCA scores beside PCANet histograms of images; components and filters are parameters.

    Parameters
    ----------
    fitted : mapping of tensor
        From `features.bank.fit_bank`.
    steepness : float
        Of the soft hash.
    """

    pca_mean: Tensor
    pca_components: Tensor
    pca_variance: Tensor
    pcanet_first: Tensor
    pcanet_second: Tensor
    pcanet_mean: Tensor
    pcanet_components: Tensor
    feature_mean: Tensor
    feature_std: Tensor
    spread: Tensor

    def __init__(self, fitted: Mapping[str, Tensor], steepness: float = STEEPNESS) -> None:
        super().__init__()
        self.steepness = steepness
        learned = ("pca_components", "pcanet_first", "pcanet_second", "pcanet_components")
        for name, tensor in fitted.items():
            if name in learned:
                self.register_parameter(name, nn.Parameter(tensor.clone()))
            elif name != "bank":
                self.register_buffer(name, tensor.clone())
        self.register_buffer("spread", fitted["pcanet_mean"].new_ones(()))
        num_first, self.num_bins = len(fitted["pcanet_first"]), 2 ** len(fitted["pcanet_second"])
        num_blocks = fitted["pcanet_mean"].numel() / (num_first * self.num_bins)
        self.num_blocks = math.isqrt(round(num_blocks))

    @torch.no_grad()
    def adapt(self, look: Callable[[Tensor], Tensor], num: int) -> Tensor:
        """Take spread, means and standard deviations from images; return their features.

        Parameters
        ----------
        look : function
            Positions -> images (B, 1, H, W) in [-1, 1].
        num : int
            Their number.

        Returns
        -------
        tensor, shape (num, d_y)
            Of mean 0 and standard deviation 1.
        """
        chunks = torch.arange(num, device="cpu").split(CHUNK_IMAGES)
        squares = [self._maps((look(chunk) + 1) / 2).square().mean() for chunk in chunks]
        self.spread.copy_(torch.stack(squares).mean().sqrt().clamp(min=1e-6))
        self.feature_mean.zero_()
        self.feature_std.fill_(1.0)
        raw = torch.cat([self(look(chunk)) for chunk in chunks])
        self.feature_mean.copy_(raw.mean(0))
        std = raw.std(0, correction=0)
        self.feature_std.copy_(torch.where(std > 0, std, 1.0))
        return (raw - self.feature_mean) / self.feature_std

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) in [-1, 1] -> features (B, d_y), standardised as in `adapt`."""
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 has too few codes
            fractions = (images.float() + 1) / 2
            pixels = (fractions.flatten(1) - self.pca_mean) @ self.pca_components.mT
            variance = torch.where(self.pca_variance > 0, self.pca_variance, 1.0)
            histograms = self.histograms(fractions) - self.pcanet_mean
            reduced = histograms @ self.pcanet_components.mT
            raw = torch.cat([pixels / variance.sqrt(), reduced], dim=1)
            features: Tensor = (raw - self.feature_mean) / self.feature_std
        return features

    def histograms(self, fractions: Tensor) -> Tensor:
        """Return soft PCANet features (B, L1 blocks^2 2^L2) of images (B, 1, H, W) in [0, 1]."""
        maps = self._maps(fractions)  # (B L1, L2, H, W)
        # air, whose response is 0, has the code 0 in the limit
        above_air = self.steepness * maps / self.spread - math.sqrt(self.steepness) / 2
        weights = 2.0 ** torch.arange(maps.shape[1], device=maps.device)
        codes = torch.einsum("nlhw,l->nhw", torch.sigmoid(above_air), weights)
        bins = torch.arange(self.num_bins, device=maps.device)[:, None, None]
        near = torch.relu(1 - (codes[:, None] - bins).abs())  # (B L1, bins, H, W)
        counts = _sums_of_blocks(near, self.num_blocks)  # (B L1, bins, blocks, blocks)
        return counts.permute(0, 2, 3, 1).reshape(len(fractions), -1)

    def _maps(self, fractions: Tensor) -> Tensor:
        """Responses of the second filters to those of the first, (B L1, L2, H, W)."""
        first = _responses(fractions, self.pcanet_first)  # (B, L1, H, W)
        return _responses(first.flatten(0, 1)[:, None], self.pcanet_second)


def _responses(images: Tensor, filters: Tensor) -> Tensor:
    """Correlate patches without their mean: the same as patches with filters without theirs."""
    kernels = (filters - filters.mean((1, 2), keepdim=True))[:, None]
    return functional.conv2d(images, kernels, padding=filters.shape[-1] // 2)


def _sums_of_blocks(maps: Tensor, num_blocks: int) -> Tensor:
    """Sum maps (.., H, W) over `pcanet.block_histograms`' blocks."""
    for axis in (-2, -1):
        size = maps.shape[axis]
        block = torch.arange(size, device=maps.device) * num_blocks // size
        is_in = (block == torch.arange(num_blocks, device=maps.device)[:, None]).to(maps.dtype)
        maps = torch.tensordot(maps, is_in, dims=([axis], [1])).movedim(-1, axis)
    return maps
