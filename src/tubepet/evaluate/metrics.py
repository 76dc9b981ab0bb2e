"""The registry of metrics, each with the sentence that says what its number is.

A metric compares n images of one set with all held-out test slices. It returns None where it is
undefined (constant images, too few of them); the caller says so.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from tubepet.evaluate import distances

Array = NDArray[np.float64]

NUM_NEIGHBOURS = 5  # of precision .. coverage; Naeem et al. 2020, section 4
NUM_FOLDS = 5
SSIM_SIGMA_PX = 1.5  # Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216; a kernel of 11 pixels
SSIM_KERNEL_PX = 11
SSIM_CHUNK = 64  # pairs compared at once, which bounds the memory
SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # the same, per scale


@dataclass(frozen=True)
class Sets:
    """What metrics read of one set of images and of the held-out test slices.

    Attributes
    ----------
    similarity : float64 array, shape (N,)
        MS-SSIM of each image with a random other one of its set, see `partner_similarity`.
    features, test_features : float64 array, shape (N, k) and (M, k)
        Statistics features.
    nearest, test_nearest : float64 array, shape (N,) and (M,)
        Distance to the nearest training slice.
    total, test_total : float64 array, shape (N,) and (M,)
        Sum of an image (activity in the slice), any unit.
    """

    similarity: Array
    features: Array
    nearest: Array
    total: Array
    test_features: Array
    test_nearest: Array
    test_total: Array

    def subset(self, rows: NDArray[np.intp]) -> "Sets":
        """Return the same comparison for some of the images."""
        return Sets(
            self.similarity[rows],
            self.features[rows],
            self.nearest[rows],
            self.total[rows],
            self.test_features,
            self.test_nearest,
            self.test_total,
        )


Values = dict[str, float | None]


@dataclass(frozen=True)
class Metric:
    """A function of `Sets`, the columns it fills, and what each number is."""

    compute: Callable[[Sets], Values]
    descriptions: dict[str, str]


def num_scales(image_size: int) -> int:
    """Return how many scales MS-SSIM's 11-pixel kernel allows (the published five: 176 pixels)."""
    fits = [s for s in range(2, 6) if image_size // (s - 1) ** 2 > SSIM_KERNEL_PX - 1]
    return fits[-1] if fits else 1


def ms_ssim(first: NDArray[np.float32], second: NDArray[np.float32]) -> Array:
    """Return the MS-SSIM of image pairs (n, H, W) in units of the scale, shape (n,)."""
    weights = SSIM_WEIGHTS[: num_scales(first.shape[-1])]
    pair = (torch.from_numpy(np.ascontiguousarray(a)).unsqueeze(1) for a in (first, second))
    value = multiscale_structural_similarity_index_measure(
        *pair,
        sigma=SSIM_SIGMA_PX,
        data_range=1.0,
        betas=tuple(w / sum(weights) for w in weights),
        normalize="relu",
        reduction="none",
    )
    return value.double().numpy()


def partner_similarity(images: NDArray[np.float32], rng: np.random.Generator) -> Array:
    """Return the MS-SSIM of each image (N, H, W) with another one, drawn at random, shape (N,)."""
    order = rng.permutation(len(images))
    similarity = np.empty(len(images))
    for rows, partners in zip(*(_chunks(o) for o in (order, np.roll(order, 1))), strict=True):
        similarity[rows] = ms_ssim(images[rows], images[partners])
    return similarity


def _chunks(order: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [order[start : start + SSIM_CHUNK] for start in range(0, len(order), SSIM_CHUNK)]


def _diversity(sets: Sets) -> Values:
    return {"ms_ssim": float(sets.similarity.mean())}


def _frechet(sets: Sets) -> Values:
    if min(len(sets.features), len(sets.test_features)) < 2:
        return {"frechet": None}
    return {"frechet": distances.frechet(sets.features, sets.test_features)}


def _mmd(sets: Sets) -> Values:
    if min(len(sets.features), len(sets.test_features)) < 2:
        return {"mmd": None}
    return {"mmd": distances.mmd_cubic(sets.features, sets.test_features)}


def _prdc(sets: Sets) -> Values:
    names = ("precision", "recall", "density", "coverage")
    is_constant = np.ptp(sets.test_features, axis=0).max() == 0
    if is_constant or min(len(sets.features), len(sets.test_features)) <= NUM_NEIGHBOURS:
        return dict.fromkeys(names)
    return {**distances.prdc(sets.test_features, sets.features, NUM_NEIGHBOURS)}


def _c2st(sets: Sets) -> Values:
    n = min(len(sets.features), len(sets.test_features))
    if n < NUM_FOLDS:
        return {"c2st": None}
    x = np.concatenate([sets.features, sets.test_features])
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    is_test = np.repeat([0, 1], [len(sets.features), len(sets.test_features)])
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=0)
    judge = LogisticRegression(class_weight="balanced")
    guess = cross_val_predict(judge, x, is_test, cv=folds)
    return {"c2st": float(np.mean([(guess[is_test == c] == c).mean() for c in (0, 1)]))}


def _memorisation(sets: Sets) -> Values:
    reference = np.median(sets.test_nearest)
    if reference == 0:
        return {"nearest_ratio": None}
    return {"nearest_ratio": float(np.median(sets.nearest) / reference)}


def _activity(sets: Sets) -> Values:
    spread = sets.test_total.std()
    if spread == 0:
        return {"w1_activity": None}
    return {"w1_activity": float(wasserstein_distance(sets.total, sets.test_total) / spread)}


METRICS = (
    Metric(
        _diversity,
        {
            "ms_ssim": "MS-SSIM of random pairs within the set (diversity: lower is more diverse; "
            "compare with the real rows)"
        },
    ),
    Metric(_frechet, {"frechet": "Frechet distance (statistics features), lower is better"}),
    Metric(
        _mmd,
        {"mmd": "unbiased MMD^2 with KID's cubic kernel (statistics features), lower is better"},
    ),
    Metric(
        _prdc,
        {
            "precision": f"share of the images inside the test slices' manifold "
            f"(statistics features, k = {NUM_NEIGHBOURS})",
            "recall": "share of the test slices inside the images' manifold",
            "density": "how many test balls hold an image, over k (near 1 for equal sets)",
            "coverage": "share of the test slices with an image in their ball",
        },
    ),
    Metric(
        _c2st,
        {
            "c2st": "classifier two-sample test: balanced accuracy of a logistic regression on the "
            f"statistics features, {NUM_FOLDS} folds (0.5: cannot tell)"
        },
    ),
    Metric(
        _memorisation,
        {
            "nearest_ratio": "median distance to the nearest training slice (rotations and mirror "
            "images included) over that of the test slices (0: copies, 1: as far as new tubes)"
        },
    ),
    Metric(
        _activity,
        {
            "w1_activity": "Wasserstein-1 distance of the activity per slice, in standard "
            "deviations of the test slices, lower is better"
        },
    ),
)

DESCRIPTIONS = {name: text for metric in METRICS for name, text in metric.descriptions.items()}


def measure(sets: Sets) -> Values:
    """Return every metric of one comparison."""
    values: Values = {}
    for metric in METRICS:
        values |= metric.compute(sets)
    return values
