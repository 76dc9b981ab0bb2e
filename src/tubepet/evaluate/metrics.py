"""The metrics of Table 1, each with a sentence that says what its number is.

A metric compares n images of one set with all held-out test slices. It is None where it is
undefined, for constant or too few images.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from tubepet.dataset.stack import Images, by_pieces
from tubepet.evaluate import distances, physics, similarity

Array = NDArray[np.float64]
Space = Callable[[NDArray[np.float32]], Array]

STATISTICS = "statistics"  # the feature space that needs no network

NUM_NEIGHBOURS = 5  # k of precision .. coverage; Naeem et al. 2020, section 4
NUM_FOLDS = 5
CLOSE_QUANTILE = 0.05


@dataclass(frozen=True)
class Described:
    """The numbers of a set of images that metrics compare, one row per image.

    Attributes
    ----------
    features : dict of float64 array, shape (N, k)
        By the name of the feature space.
    similarity : float64 array, shape (N,)
        MS-SSIM with a random other image of the set, see `partner_similarity`.
    nearest : float64 array, shape (N,)
        Distance to the nearest training slice.
    total : float64 array, shape (N,)
        Sum of each image, in units of the scale.
    radius : float64 array, shape (N,)
        Radius of the bore in pixels.
    histogram : float64 array, shape (N, NUM_BINS)
        Shares of intensities.
    noise : float64 array, shape (N, NUM_BANDS)
        Noise power in the fluid, see `physics.noise_power`.
    tube : int64 array, shape (N,)
        The tube of each image, see `tubes_of`.
    """

    features: dict[str, Array]
    similarity: Array
    nearest: Array
    total: Array
    radius: Array
    histogram: Array
    noise: Array
    tube: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.total)

    def subset(self, rows: NDArray[Any]) -> "Described":
        """Return some of the images."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        spaces = {space: array[rows] for space, array in values.pop("features").items()}
        return Described(spaces, **{name: array[rows] for name, array in values.items()})


def tubes_of(names: NDArray[np.str_] | None, num: int) -> NDArray[np.int64]:
    """Return a number for the tube of each image; without names each image is of its own tube."""
    if names is None:
        return np.arange(num, dtype=np.int64)
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def describe(
    images: Images,
    nearest: Array,
    spaces: Mapping[str, Space],
    rng: np.random.Generator,
    tubes: NDArray[np.str_] | None = None,
) -> Described:
    """Describe images (N, H, W) in units of the scale.

    Parameters
    ----------
    images : float32 array or Stack, shape (N, H, W)
        Units of the scale.
    nearest : float64 array, shape (N,)
        Their distances to the nearest training slice (`distances.nearest_training`).
    spaces : mapping of function
        From images to features (N, k), by the name of the space.
    rng : numpy.random.Generator
        Chooses the pairs of `similarity`.
    tubes : str array, shape (N,), optional
        The tube of each image. Without it each image is of a tube of its own.
    """
    looks = (_total, physics.bore_radius_px, physics.intensity_histogram, physics.noise_power)
    total, radius, histogram, noise, *features = by_pieces([*looks, *spaces.values()], images)
    return Described(
        features=dict(zip(spaces, features, strict=True)),
        similarity=partner_similarity(images, rng),
        nearest=nearest,
        total=total,
        radius=radius,
        histogram=histogram,
        noise=noise,
        tube=tubes_of(tubes, len(images)),
    )


def _total(images: NDArray[np.float32]) -> Array:
    total: Array = images.sum((1, 2), dtype=np.float64)
    return total


Values = dict[str, float | None]


@dataclass(frozen=True)
class Metric:
    """A function of generated and real images that returns named numbers, and what these are.

    `compute` gets two `Described`. With `is_in_space` it gets the features and the tubes of both
    instead, once for each feature space; every space has columns of its own.
    """

    compute: Callable[[Any, Any], Values]
    descriptions: dict[str, str]
    is_in_space: bool = False


def partner_similarity(images: Images, rng: np.random.Generator) -> Array:
    """Return the MS-SSIM (N,) of each image (N, H, W) with a random other one."""
    order = rng.permutation(len(images))
    values = np.empty(len(images))
    for rows, partners in zip(*(_chunks(o) for o in (order, np.roll(order, 1))), strict=True):
        values[rows] = similarity.ms_ssim(images[rows], images[partners])
    return values


def _chunks(order: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return [
        order[start : start + similarity.CHUNK] for start in range(0, len(order), similarity.CHUNK)
    ]


def _diversity(fake: Described, real: Described) -> Values:
    return {"ms_ssim": float(fake.similarity.mean())}


class InSpace(NamedTuple):
    """Features (N, k) of a set of images in one space, and their tubes (N,)."""

    features: Array
    tube: NDArray[np.int64]


def _distances(fake: InSpace, real: InSpace) -> Values:
    if min(len(fake.tube), len(real.tube)) < 2:
        return {"frechet": None, "energy": None}
    return {
        "frechet": distances.frechet(fake.features, real.features),
        "energy": distances.energy(fake.features, real.features, fake.tube, real.tube),
    }


def _prdc(fake: InSpace, real: InSpace) -> Values:
    is_constant = np.ptp(real.features, axis=0).max() == 0
    # enough neighbours for every image: all images but those of the largest tube
    num_others = (len(one.tube) - np.bincount(one.tube).max() for one in (fake, real))
    if is_constant or min(num_others) < NUM_NEIGHBOURS:
        return dict.fromkeys(("precision", "recall", "density", "coverage"))
    sets = real.features, fake.features, real.tube, fake.tube
    return {**distances.prdc(*sets, NUM_NEIGHBOURS)}


def _c2st(fake: InSpace, real: InSpace) -> Values:
    if min(len(np.unique(one.tube)) for one in (fake, real)) < NUM_FOLDS:
        return {"c2st": None, "c2st_neighbours": None}
    n = min(len(fake.tube), len(real.tube))
    x = np.concatenate([fake.features, real.features])
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    is_real = np.repeat([0, 1], [len(fake.tube), len(real.tube)])
    tube = np.concatenate([fake.tube, real.tube + fake.tube.max() + 1])
    parts = _folds(tube, is_real)
    line = cross_val_predict(LogisticRegression(class_weight="balanced"), x, is_real, cv=parts)
    # neighbours are counted, so the larger of two unequal sets would win most votes; rows are taken
    # evenly, for slices lie tube by tube
    sets = np.split(np.arange(len(tube)), [len(fake.tube)])
    even = np.concatenate([rows[np.arange(n) * len(rows) // n] for rows in sets])
    judge = KNeighborsClassifier(min(NUM_NEIGHBOURS, n // 2))
    vote = cross_val_predict(
        judge, x[even], is_real[even], cv=PredefinedSplit(parts.test_fold[even])
    )
    return {
        "c2st": float(balanced_accuracy_score(is_real, line)),
        "c2st_neighbours": float(balanced_accuracy_score(is_real[even], vote)),
    }


def _folds(tube: NDArray[np.int64], is_real: NDArray[np.int64]) -> PredefinedSplit:
    """Divide images into folds: whole tubes, and in each as many images of both sets.

    The largest tubes are dealt first, each to the fold with the fewest images of its set.
    scikit-learn's StratifiedGroupKFold is for groups of both kinds, and takes 30 times as long.
    """
    fold, random = np.empty(len(tube), np.int64), np.random.default_rng(0)
    for one_set in (0, 1):
        rows = np.flatnonzero(is_real == one_set)
        names, owner, size = np.unique(tube[rows], return_inverse=True, return_counts=True)
        order, number = random.permutation(len(names)), np.empty(len(names), np.int64)
        filled = np.zeros(NUM_FOLDS, np.int64)
        for name in order[np.argsort(-size[order], kind="stable")]:
            number[name] = np.argmin(filled)
            filled[number[name]] += size[name]
        fold[rows] = number[owner]
    return PredefinedSplit(fold)


def _memorisation(fake: Described, real: Described) -> Values:
    reference = np.median(real.nearest)
    if reference == 0:
        return {"nearest_ratio": None, "share_close": None}
    close = fake.nearest < np.quantile(real.nearest, CLOSE_QUANTILE)
    return {
        "nearest_ratio": float(np.median(fake.nearest) / reference),
        "share_close": float(close.mean()),
    }


def _w1(fake: Array, real: Array) -> float | None:
    spread = real.std()
    return float(wasserstein_distance(fake, real) / spread) if spread > 0 else None


def _physics(fake: Described, real: Described) -> Values:
    fake_noise, real_noise = (_mean_noise(a.noise) for a in (fake, real))
    ratio = None
    if min(fake_noise.min(), real_noise.min()) > 0:
        ratio = float(np.exp(np.abs(np.log(fake_noise / real_noise)).mean()))
    return {
        "w1_activity": _w1(fake.total, real.total),
        "w1_radius": _w1(fake.radius, real.radius),
        "w1_intensity": physics.histogram_w1(fake.histogram.mean(0), real.histogram.mean(0)),
        "noise_factor": ratio,
    }


def _mean_noise(noise: Array) -> Array:
    """Return the mean over the images that have fluid; 0 if none has."""
    has_fluid = np.isfinite(noise).all(1)
    return noise[has_fluid].mean(0) if has_fluid.any() else np.zeros(noise.shape[1])


METRICS = (
    Metric(
        _distances,
        {
            "frechet": "Frechet distance ({space} features), lower is better",
            "energy": "energy distance ({space} features), unbiased, lower is better",
        },
        is_in_space=True,
    ),
    Metric(
        _prdc,
        {
            "precision": "share of the images inside the test slices' manifold "
            f"({{space}} features, k = {NUM_NEIGHBOURS})",
            "recall": "share of the test slices inside the images' manifold ({space} features)",
            "density": "how many test balls hold an image, over k, near 1 for equal sets "
            "({space} features)",
            "coverage": "share of the test slices with an image in their ball ({space} features)",
        },
        is_in_space=True,
    ),
    Metric(
        _c2st,
        {
            "c2st": "classifier two-sample test: balanced accuracy of a logistic regression on the "
            f"{{space}} features, {NUM_FOLDS} folds by tube (0.5: cannot tell)",
            "c2st_neighbours": f"the same with {NUM_NEIGHBOURS} nearest neighbours as classifier",
        },
        is_in_space=True,
    ),
    Metric(
        _diversity,
        {
            "ms_ssim": "MS-SSIM of random pairs within the set (diversity: lower is more diverse; "
            "compare with the real rows)"
        },
    ),
    Metric(
        _memorisation,
        {
            "nearest_ratio": "median distance to the nearest training slice (rotations and mirror "
            "images included) over that of the test slices (0: copies, 1: as far as new tubes)",
            "share_close": "share of the images that lie closer to a training slice than "
            f"{1 - CLOSE_QUANTILE:.0%} of the test slices do ({CLOSE_QUANTILE} if like new tubes)",
        },
    ),
    Metric(
        _physics,
        {
            "w1_activity": "Wasserstein-1 distance of the activity per slice, in standard "
            "deviations of the test slices, lower is better",
            "w1_radius": "Wasserstein-1 distance of the bore's radius (circle of the area inside "
            "the contour at half height), in standard deviations of the test slices",
            "w1_intensity": "Wasserstein-1 distance of all pixels' intensities, in standard "
            "deviations of the test slices' pixels",
            "noise_factor": "by what factor the noise power in the fluid differs, geometric mean "
            f"over {physics.NUM_BANDS} bands of spatial frequency (1: equal)",
        },
    ),
)


def column(name: str, space: str) -> str:
    """Return the column of a metric in a feature space; statistics features have the plain name."""
    return name if space == STATISTICS else f"{name}_{space}"


def descriptions(spaces: Iterable[str]) -> dict[str, str]:
    """Return the description of each column."""
    texts = {}
    for metric in METRICS:
        for space in spaces if metric.is_in_space else (STATISTICS,):
            for name, text in metric.descriptions.items():
                texts[column(name, space)] = text.format(space=space)
    return texts


QUICK = tuple(metric for metric in METRICS if metric.compute not in (_c2st, _diversity))


def measure(fake: Described, real: Described, chosen: Sequence[Metric] = METRICS) -> Values:
    """Return the metrics of one comparison; `QUICK` omits classifiers and MS-SSIM."""
    values: Values = {}
    for metric in chosen:
        if not metric.is_in_space:
            values |= metric.compute(fake, real)
            continue
        for space in fake.features:
            own, theirs = (InSpace(one.features[space], one.tube) for one in (fake, real))
            values |= measure_in(space, own, theirs, [metric])
    return values


def measure_in(
    space: str, fake: InSpace, real: InSpace, chosen: Sequence[Metric] = QUICK
) -> Values:
    """Return those metrics of one comparison that are numbers of one feature space."""
    found = (metric.compute(fake, real) for metric in chosen if metric.is_in_space)
    return {column(name, space): value for one in found for name, value in one.items()}
