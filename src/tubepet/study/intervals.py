"""Intervals and tests of means and paired differences over few seeds and few test tubes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

Array = NDArray[np.float64]

LEVEL = 0.95
NORMAL_QUANTILE = 1.959963984540054  # of 0.975
MAX_EXACT = 12  # seeds; beyond, signs are drawn
NUM_SIGNS = 4096


def half_splits(tubes: NDArray[np.str_], num: int, rng: np.random.Generator) -> list[NDArray]:
    """Return masks (N,) of the slices of a random half of the tubes.

    The mean over half of n tubes, drawn without replacement, has the variance of the mean over n
    independent tubes (1/m - 1/n = 1/n for m = n/2). No slice is drawn twice, which would disturb
    distances between neighbours.
    """
    names = np.unique(tubes)
    size = max(1, len(names) // 2)
    return [np.isin(tubes, rng.permutation(names)[:size]) for _ in range(num)]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, its standard deviation and 95 % interval, and p for "the mean is 0"."""

    mean: float
    sd: float
    low: float
    high: float
    p: float
    num_seeds: int


def estimate(values: Array, draws: Array, num_bootstrap: int, rng: np.random.Generator) -> Estimate:
    """Estimate the mean of paired differences (or of plain values).

    Parameters
    ----------
    values : float64 array, shape (S,)
        One per seed, on all test tubes.
    draws : float64 array, shape (S, H)
        The same on H halves of the test tubes, which all seeds share; H may be 0.
    num_bootstrap : int
        Number of resamplings of seeds and halves.
    rng : numpy.random.Generator

    Notes
    -----
    The percentile interval of a bootstrap of few values is too narrow. So deviations are stretched
    by t / 1.96 x sqrt(S / (S - 1)), which gives the t interval for a mean of normal values
    (Hesterberg 2015, doi:10.1080/00031305.2015.1089789, section 4.3). With one seed the interval
    covers tubes alone.
    """
    num_seeds = len(values)
    mean = float(values.mean())
    deviation = np.zeros(num_bootstrap)
    if num_seeds > 1:
        rows = rng.integers(num_seeds, size=(num_bootstrap, num_seeds))
        quantile = float(t.ppf(0.5 + LEVEL / 2, num_seeds - 1))
        stretch = quantile / NORMAL_QUANTILE * np.sqrt(num_seeds / (num_seeds - 1))
        deviation = deviation + (values[rows].mean(1) - mean) * stretch
    if draws.size:
        half = draws.mean(0)  # over seeds: the halves are shared
        deviation = deviation + (half - half.mean())[rng.integers(len(half), size=num_bootstrap)]
    low, high = np.quantile(deviation, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    sd = float(values.std(ddof=1)) if num_seeds > 1 else 0.0
    return Estimate(mean, sd, mean + low, mean + high, sign_flip_p(values, rng), num_seeds)


def sign_flip_p(differences: Array, rng: np.random.Generator) -> float:
    """Return the two-sided p of the paired permutation test (exact up to 12 seeds).

    Under the null each difference may have either sign. With S seeds no p is below 2 / 2^S.
    """
    num = len(differences)
    if num <= MAX_EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=num)))
    else:
        drawn = rng.choice((1.0, -1.0), size=(NUM_SIGNS, num))
        signs = np.concatenate([np.ones((1, num)), drawn])
    sums = np.abs(signs @ differences)
    return float((sums >= sums[0] * (1 - 1e-12)).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for multiple tests (Holm 1979, Scand. J. Statist. 6, 65)."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    result = np.empty(len(p))
    result[order] = np.minimum(corrected, 1)
    return [float(v) for v in result]


HOLDS, FAILS, OPEN = "holds", "does not hold", "undecided"


def verdict(low: float, high: float, threshold: float = 0.0) -> str:
    """Return whether a quantity is above a threshold, by its interval: `HOLDS`, `FAILS`, `OPEN`."""
    if low > threshold:
        return HOLDS
    return FAILS if high < threshold else OPEN
