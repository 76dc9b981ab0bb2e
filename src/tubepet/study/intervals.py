"""Intervals and tests of means and paired differences over few seeds and few test tubes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

Array = NDArray[np.float64]

LEVEL = 0.95
MOST_SEEDS = 1000


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
    """A mean over seeds, with its t interval and the p of "it is 0".

    Attributes
    ----------
    mean, low, high : float
        Mean and 95 % interval.
    sd : float
        Standard deviation over seeds.
    of_tubes : float
        Standard error by the choice of the test tubes, which more seeds do not lessen.
    p : float
        Two-sided.
    num_seeds : int
    """

    mean: float
    sd: float
    of_tubes: float
    low: float
    high: float
    p: float
    num_seeds: int


def estimate(values: Array, draws: Array) -> Estimate:
    """Estimate the mean of paired differences (or of plain values).

    Parameters
    ----------
    values : float64 array, shape (S,)
        One per seed, on all test tubes.
    draws : float64 array, shape (S, H)
        The same on H halves of the test tubes, which all seeds share; H may be 0.

    Notes
    -----
    The variances of seeds and of tubes add up. Only that of seeds is known from few numbers, so the
    degrees of freedom are those of Welch and Satterthwaite (1946, doi:10.2307/3002019) with endless
    ones for the tubes. With one seed the interval covers tubes alone; without these it is endless.
    """
    num_seeds, mean = len(values), float(values.mean())
    sd = float(values.std(ddof=1)) if num_seeds > 1 else 0.0
    of_tubes = float(draws.mean(0).std(ddof=1)) if draws.ndim == 2 and draws.shape[1] > 1 else 0.0
    if num_seeds == 1 and of_tubes == 0:  # nothing tells how sure it is
        return Estimate(mean, sd, of_tubes, -np.inf, np.inf, 1.0, num_seeds)
    error, free = _error(sd, of_tubes, num_seeds)
    half = _half_width(error, free)
    p = float(2 * t.sf(abs(mean) / error, free)) if error > 0 else float(mean == 0)
    return Estimate(mean, sd, of_tubes, mean - half, mean + half, p, num_seeds)


def _error(sd: float, of_tubes: float, num_seeds: int) -> tuple[float, float]:
    """Return the standard error of a mean and its degrees of freedom."""
    of_seeds = sd**2 / num_seeds
    variance = of_seeds + of_tubes**2
    free = (num_seeds - 1) * (variance / of_seeds) ** 2 if of_seeds > 0 else np.inf
    return float(np.sqrt(variance)), float(free)


def _half_width(error: float, free: float) -> float:
    """Return half the width of the interval."""
    return float(t.ppf(0.5 + LEVEL / 2, free)) * error


def seeds_to_decide(found: Estimate) -> int | None:
    """Return how many seeds would take the interval off 0, if mean and spread stayed as they are.

    None: more than `MOST_SEEDS`, or none, for the choice of the test tubes leaves it open; or one
    seed alone does not tell the spread.
    """
    if found.num_seeds == 1:
        return None
    nums = range(max(found.num_seeds, 2), MOST_SEEDS + 1)
    errors = ((n, *_error(found.sd, found.of_tubes, n)) for n in nums)
    return next((n for n, *error in errors if _half_width(*error) < abs(found.mean)), None)


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
