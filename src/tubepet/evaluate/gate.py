"""Whether a feature space can be trusted: it must see what is known to be wrong.

Real training slices are spoilt in three ways. In a space that counts, every spoilt set is farther
from the test slices than the training slices are, and a classifier tells it from the training
slices of other tubes.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tubepet import io
from tubepet.dataset.stack import Images
from tubepet.evaluate.distances import energy
from tubepet.evaluate.metrics import NUM_FOLDS, Space, tubes_of
from tubepet.evaluate.window import lit

LEAST_AUC = 0.9
MOST_IMAGES = 1000  # of each set, evenly taken
BLUR_PX = 1.0  # standard deviation
TEAR_PX = 3
NOISE = 0.25  # standard deviation over the root of the intensity, in units of the scale
Unit = NDArray[np.float32]
Set = tuple[Images, NDArray[np.str_]]


def blurred(images: Unit) -> Unit:
    """Return images that are too smooth."""
    return gaussian_filter(images, (0, BLUR_PX, BLUR_PX))


def noisier(images: Unit) -> Unit:
    """Return images with more noise, of Poisson's kind."""
    noise = np.random.default_rng(0).standard_normal(images.shape, np.float32)
    return np.clip(images + NOISE * np.sqrt(images) * noise, 0, 1)


def torn(images: Unit) -> Unit:
    """Return images whose right half is moved."""
    left, right = np.split(images, [images.shape[2] // 2], axis=2)
    return np.concatenate([left, np.roll(right, TEAR_PX, axis=1)], axis=2)


SPOILT = {"blurred": blurred, "noisier": noisier, "torn": torn}


@dataclass(frozen=True)
class Gate:
    """What a space says of spoilt sets.

    Attributes
    ----------
    real : float or None
        Energy distance of training and test slices; None with fewer than two tubes in a set.
    energy, auc : dict
        By spoilt set: its energy distance from the test slices, and the area under the curve of a
        logistic regression, folds by tube. None with fewer tubes than folds.
    """

    real: float | None
    energy: dict[str, float | None]
    auc: dict[str, float | None]

    @property
    def is_passed(self) -> bool | None:
        """Whether the space counts; None if there are too few tubes to say."""
        values = [self.real, *self.energy.values(), *self.auc.values()]
        if any(value is None for value in values):
            return None
        return all(self.sees(name) for name in self.energy)

    def sees(self, name: str) -> bool:
        """Whether a spoilt set is told from real slices."""
        real, far, auc = self.real, self.energy[name], self.auc[name]
        return (
            real is not None
            and far is not None
            and auc is not None
            and (far > real and auc >= LEAST_AUC)
        )

    def as_json(self) -> dict[str, Any]:
        """Return everything, for a JSON file."""
        return asdict(self) | {"is_passed": self.is_passed, "least_auc": LEAST_AUC}

    def sentences(self, space: str) -> Iterator[str]:
        """Yield a sentence if no claim may rest on the space."""
        if self.is_passed is None:
            yield f"{space} features: too few tubes to test them, so no claim rests on them"
        elif not self.is_passed:
            blind = ", ".join(name for name in self.energy if not self.sees(name))
            yield f"{space} features do not see slices that are {blind}, so no claim rests on them"


def gate_of(features: Space, train: Set, test: Set) -> Gate:
    """Test a feature space.

    Parameters
    ----------
    features : function
        From images (N, H, W) in units of the scale to features (N, k).
    train, test : tuple of images (N, H, W) and str array (N,)
        Slices in units of the scale, and their tubes.
    """
    (own, tubes), (theirs, their_tubes) = _some(train), _some(test)
    real, far = features(own), features(theirs)
    ids, their_ids = tubes_of(tubes, len(tubes)), tubes_of(their_tubes, len(their_tubes))
    # without darkness, as all that is compared: else it would betray them
    spoilt = {name: features(lit(spoil(own))) for name, spoil in SPOILT.items()}
    return Gate(
        energy(real, far, ids, their_ids),
        {name: energy(made, far, ids, their_ids) for name, made in spoilt.items()},
        {name: _auc(made, real, ids) for name, made in spoilt.items()},
    )


def _some(slices: Set) -> tuple[Unit, NDArray[np.str_]]:
    images, tubes = slices
    rows = io.evenly(np.arange(len(images)), MOST_IMAGES)
    return np.asarray(images[rows]), tubes[rows]


def _auc(made: NDArray[np.float64], real: NDArray[np.float64], tube: NDArray[Any]) -> float | None:
    if len(np.unique(tube)) < NUM_FOLDS:
        return None
    is_real = np.repeat([0, 1], len(real))
    folds = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=0)
    judge = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    score = cross_val_predict(
        judge, np.concatenate([made, real]), is_real, groups=np.concatenate([tube, tube]),
        cv=folds, method="decision_function",
    )  # fmt: skip
    return float(roc_auc_score(is_real, score))
