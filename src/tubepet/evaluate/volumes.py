"""Compare volumes with those of test tubes: power and correlation along the axis, a classifier.

A volume is a stack of slices of one tube. Slices of a generator that makes no volumes are stacked
in any order. They may be good one by one, but the stack is white noise along z.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.fft import dct, dctn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tubepet.dataset.slices import Slices
from tubepet.errors import InputError
from tubepet.evaluate.window import DARK, lit
from tubepet.rng import stream

Array = NDArray[np.float64]
Volumes = NDArray[np.float32]

NUM_BANDS = 9  # of transaxial frequency up to 0.25 per pixel
LAGS = (1, 2, 3, 4)  # slices
QUANTILES = (0.7, 0.8, 0.85, 0.9, 0.95, 0.99)  # of all voxels, most of which are empty
NUM_FOLDS = 5
NUM_REPEATS = 10  # divisions into folds
NUM_HALVES = 20  # divisions of the real tubes
MOST_PER_MM = 0.25  # the largest axial frequency compared; the resolution leaves little above
HALVES = "real (halves of the test tubes)"
COLUMNS = {
    "model": f"'{HALVES}': one half of the test tubes against the other, mean of {NUM_HALVES}",
    "num_volumes": "stacks of as many slices as every test tube has in its middle",
    "is_stacked": "whether the model makes slices only, stacked here as they come",
    "c2st": "balanced accuracy of a logistic regression that tells stacks from test tubes, "
    f"{NUM_FOLDS} folds by tube, {NUM_REPEATS} times (0.5: cannot tell)",
    "axial_factor": "by what factor the power along z differs from that of the test tubes, worst "
    f"frequency up to {MOST_PER_MM:g} per mm (1: equal)",
} | {f"correlation_{lag}": f"of the noise of slices {lag} apart" for lag in LAGS}


def axial_power(volumes: Volumes, slice_mm: float) -> tuple[Array, Array]:
    """Return the power spectrum along z, a mean over the columns of each volume.

    Parameters
    ----------
    volumes : float32 array, shape (N, nz, H, W)
    slice_mm : float

    Returns
    -------
    frequency : float64 array, shape (nz,)
        Per mm, from 0 to below 1 / (2 slice_mm).
    power : float64 array, shape (N, nz)
        Mean square of the coefficients of the cosine transform (DCT-II), which mirrors the ends.
    """
    num = volumes.shape[1]
    spectra = (dct(v.astype(np.float64), axis=0, norm="ortho") for v in volumes)
    power = np.array([np.square(s).mean((1, 2)) for s in spectra])
    return np.arange(num) / (2 * num * slice_mm), power


def axial_correlation(volumes: Volumes) -> Array:
    """Return the correlation of the noise of slices 1, 2, .. apart, shape (N, len(LAGS)).

    Noise is the difference of a voxel from the mean of its column along z. NaN without noise.
    """
    found = np.full((len(volumes), len(LAGS)), np.nan)
    for row, volume in zip(found, volumes, strict=True):
        noise = volume - volume.mean(0, dtype=np.float64)
        total = np.square(noise).sum()
        if total > 0:
            row[:] = [(noise[lag:] * noise[:-lag]).sum() / total for lag in LAGS]
    return found


def features(volumes: Volumes) -> Array:
    """Return the features (N, k) that a classifier sees of volumes in units of the scale.

    They are logarithms of the power along z and, in bands, across; correlations along z; and
    quantiles of the voxels. Voxels darker than `DARK` count as 0.
    """
    seen = lit(volumes)
    tiny = DARK**4
    _, along = axial_power(seen, 1.0)
    size = np.array(volumes.shape[2:])
    place = np.hypot(*np.ogrid[: size[0], : size[1]]) / (2 * size.max())  # per pixel
    band = np.minimum((place / 0.25 * NUM_BANDS).astype(int), NUM_BANDS)  # the last: above
    across = []
    for volume in seen:
        power = np.square(dctn(volume.astype(np.float64), axes=(1, 2), norm="ortho")).mean(0)
        across.append((np.bincount(band.ravel(), power.ravel()) / np.bincount(band.ravel()))[:-1])
    kept = slice(None, volumes.shape[1] // 2 + 1)
    quantiles = np.quantile(seen.reshape(len(seen), -1), QUANTILES, axis=1).T
    correlations = np.nan_to_num(axial_correlation(seen))
    powers = np.log(np.concatenate([along[:, kept], np.array(across)], axis=1) + tiny)
    return np.concatenate([powers, correlations, quantiles], axis=1)


def two_sample(
    fake: Array, real: Array, fake_tubes: NDArray[Any], real_tubes: NDArray[Any], seed: int
) -> float:
    """Return the accuracy with which a classifier tells fake from real volumes.

    Parameters
    ----------
    fake, real : float64 array, shape (N, k) and (M, k)
        From `features`.
    fake_tubes, real_tubes : array, shape (N,) and (M,)
        The tube of each volume. Volumes of one tube, fake and real, are in one fold.
    seed : int
        Decides the folds.

    Returns
    -------
    float
        Balanced accuracy, mean of `NUM_REPEATS` divisions into folds; 0.5 is that of guessing.

    Raises
    ------
    InputError
        If there are fewer tubes than folds.
    """
    for what, tubes in (("fake", fake_tubes), ("real", real_tubes)):
        if len(np.unique(tubes)) < NUM_FOLDS:
            raise InputError(
                f"two-sample test: got {len(np.unique(tubes))} {what} tubes, expected at least "
                f"{NUM_FOLDS}, the number of folds"
            )
    x, is_real = np.concatenate([fake, real]), np.repeat([0, 1], [len(fake), len(real)])
    tubes = np.concatenate([fake_tubes, real_tubes])
    judge = make_pipeline(
        StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000)
    )
    right = []
    for i_repeat in range(NUM_REPEATS):
        folds = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=seed + i_repeat)
        guess = cross_val_predict(judge, x, is_real, groups=tubes, cv=folds)
        right.append(balanced_accuracy_score(is_real, guess))
    return float(np.mean(right))


def table(
    stacks: Mapping[str, NDArray[np.float32]],
    volumes: Mapping[str, NDArray[np.float32]],
    real: Slices,
    seed: int,
) -> pd.DataFrame:
    """Compare volumes of every generator with the middles of the test tubes.

    Parameters
    ----------
    stacks : mapping of float32 array, shape (N, H, W)
        Slices of the models that make no volumes, Bq/mm3.
    volumes : mapping of float32 array, shape (N, nz, H, W)
        Volumes of the other models, Bq/mm3, with the tube in their middle.
    real : Slices
    seed : int
        The run's seed.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`, a row per model, and a row for halves of the real tubes. Numbers for
        which there are too few volumes are NaN.
    """
    names = np.unique(real.tube[real.split == "test"])
    depth = min(len(real.tubes[str(name)]) for name in names)
    tubes = np.array([_middle(np.asarray(real.volume(str(n))[0][:]), depth) for n in names])
    unit = {n: np.array([_middle(v, depth) for v in own]) for n, own in volumes.items()}
    unit |= {n: _stacked(slices, depth) for n, slices in stacks.items()}
    rows = [
        {"model": name, "is_stacked": name in stacks}
        | _compared(np.clip(own / real.scale_bq_mm3, 0, 1), tubes, real.slice_mm, seed)
        for name, own in unit.items()
    ]
    halves = [_compared(*pair, real.slice_mm, seed) for pair in _halves(tubes, seed)]
    floor = {"model": HALVES, "is_stacked": False} | pd.DataFrame(halves).mean().to_dict()
    return pd.DataFrame([*rows, floor])[list(COLUMNS)]


def _compared(fake: Volumes, real: Volumes, slice_mm: float, seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {"num_volumes": len(fake), "c2st": np.nan, "axial_factor": np.nan}
    if min(len(fake), len(real)) >= NUM_FOLDS:
        ids = np.arange(len(fake)), len(fake) + np.arange(len(real))
        row["c2st"] = two_sample(features(fake), features(real), *ids, seed)
    if len(fake) and len(real):
        row["axial_factor"] = axial_factor(fake, real, slice_mm)
        correlation = axial_correlation(fake)
        is_noisy = np.isfinite(correlation).all(1)
        mean = correlation[is_noisy].mean(0) if is_noisy.any() else np.full(len(LAGS), np.nan)
        row |= {f"correlation_{lag}": value for lag, value in zip(LAGS, mean, strict=True)}
    return row


def axial_factor(fake: Volumes, real: Volumes, slice_mm: float) -> float:
    """Return the factor by which mean power along z differs, at the worst frequency.

    inf if either has no power at a frequency.
    """
    frequency, made = axial_power(fake, slice_mm)
    _, wanted = axial_power(real, slice_mm)
    is_low = frequency <= MOST_PER_MM
    made, wanted = made.mean(0)[is_low], wanted.mean(0)[is_low]
    if min(made.min(), wanted.min()) <= 0:
        return np.inf
    return float(np.exp(np.abs(np.log(made / wanted)).max()))


def _middle(volume: Volumes, depth: int) -> Volumes:
    first = (len(volume) - depth) // 2
    return volume[first : first + depth]


def _stacked(slices: NDArray[np.float32], depth: int) -> Volumes:
    num = len(slices) // depth
    return np.asarray(slices[: num * depth]).reshape(num, depth, *slices.shape[1:])


def _halves(volumes: Volumes, seed: int) -> Iterator[tuple[Volumes, Volumes]]:
    for i_half in range(NUM_HALVES):
        order = stream(seed, "evaluate", "halves", i_half).permutation(len(volumes))
        first, second = np.array_split(order, 2)
        yield volumes[first], volumes[second]
