"""The fitted feature spaces in one file, for the rules of the study that share them."""

import os
from collections.abc import Mapping

from safetensors.numpy import load_file, save_file

from tubepet import io
from tubepet.dataset.stack import Images
from tubepet.evaluate import imagenet, metrics, statistics
from tubepet.evaluate.imagenet import IMAGENET
from tubepet.evaluate.learned import LEARNED, LearnedSpace
from tubepet.evaluate.metrics import STATISTICS
from tubepet.evaluate.statistics import FeatureSpace

ARRAYS = ("mean", "std", "components")


def fit(train: Images, num_compared: int) -> dict[str, FeatureSpace]:
    """Fit statistics and ImageNet features to training slices (N, H, W) in units of the scale.

    `num_compared` is the size of the smallest set that is compared.
    """
    raw = statistics.image_statistics(train)
    return {
        STATISTICS: statistics.fit_space(raw, num_compared),
        IMAGENET: imagenet.fit_space(train, num_compared),
    }


def all_features(fitted: Mapping[str, FeatureSpace], net: LearnedSpace) -> dict[str, metrics.Space]:
    """Return what computes the features of each space, the learned one's too."""
    return {
        STATISTICS: fitted[STATISTICS].features,
        LEARNED: net.features,
        IMAGENET: fitted[IMAGENET].features,
    }


def write(path: str | os.PathLike[str], spaces: Mapping[str, FeatureSpace]) -> None:
    """Write what was fitted (safetensors)."""
    arrays = {f"{n}.{key}": getattr(s, key) for n, s in spaces.items() for key in ARRAYS}
    with io.atomic(path) as part:
        save_file({key: array.copy() for key, array in arrays.items()}, part)


def read(path: str | os.PathLike[str]) -> dict[str, FeatureSpace]:
    """Read what `write` wrote."""
    arrays = load_file(io.checked(path))
    describes = {STATISTICS: statistics.describe, IMAGENET: imagenet.load_network().features}
    return {
        name: FeatureSpace(describe, *(arrays[f"{name}.{key}"] for key in ARRAYS))
        for name, describe in describes.items()
    }
