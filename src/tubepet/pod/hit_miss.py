"""Probability of detection from hits and misses (ASTM E2862, MIL-HDBK-1823A).

POD(a) = F(b0 + b1 ln a), with F logistic (logit) or normal (probit), is fitted by maximum
likelihood. Bounds of sizes come from the likelihood ratio (Cheng and Iles 1983 for curves; here for
one size at a time). The upper bound is the largest a for which a curve through (a, POD) is not
rejected at 5 %, one-sided.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, log_expit, log_ndtr, logit, ndtr, ndtri
from scipy.stats import chi2

Array = NDArray[np.float64]


class Law(NamedTuple):
    """A symmetric distribution: cumulative function, its logarithm, density and quantile."""

    cdf: Callable[[Array], Array]
    log: Callable[[Array], Array]
    density: Callable[[Array], Array]
    quantile: Callable[[float], float]


LAWS = {
    "logit": Law(expit, log_expit, lambda x: expit(x) * expit(-x), logit),
    "probit": Law(ndtr, log_ndtr, lambda x: np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), ndtri),
}
CONFIDENCE = 0.95  # one-sided
MOST_STEPS, ENOUGH = 100, 1e-10
NUM_GROUPS, LEAST_PER_GROUP = 10, 5  # of Hosmer and Lemeshow
FARTHEST = 20.0  # in ln a: a bound farther away counts as none


@dataclass(frozen=True)
class Curve:
    """POD against size.

    Attributes
    ----------
    sizes_mm, hits : float64 array, shape (n,)
        The parts; hits are 0 or 1, or probabilities of a hit.
    link : str
        `logit` or `probit`.
    intercept, slope : float
        b0, b1; the size is in mm.
    covariance : float64 array, shape (2, 2)
        Covariance of both, the inverse of Fisher's information.
    deviance : float
        -2 times the log-likelihood.
    """

    sizes_mm: Array
    hits: Array
    link: str
    intercept: float
    slope: float
    covariance: Array
    deviance: float

    def pod(self, sizes_mm: Array) -> Array:
        """Return the probability of detection of sizes, mm."""
        return np.asarray(LAWS[self.link].cdf(self.intercept + self.slope * np.log(sizes_mm)))

    def size_mm(self, pod: float) -> float:
        """Return the size (mm) that is found with a probability."""
        return float(np.exp((LAWS[self.link].quantile(pod) - self.intercept) / self.slope))


def why_not(sizes_mm: Array, hits: Array) -> str:
    """Say in one sentence why hits (0 or 1) have no curve; empty if they have one."""
    found, missed = sizes_mm[hits > 0], sizes_mm[hits == 0]
    span = f"{len(sizes_mm)} parts of {sizes_mm.min():.3g} to {sizes_mm.max():.3g} mm"
    if not len(found):
        return f"none of {span} is a hit: larger defects are needed for a curve"
    if not len(missed):
        return f"each of {span} is a hit: smaller defects are needed for a curve"
    if missed.max() <= found.min():
        return (
            f"the largest miss has {missed.max():.3g} mm, the smallest hit {found.min():.3g} mm: "
            "without overlap no curve is the likeliest, more parts between them are needed"
        )
    if found.max() <= missed.min() or fit(sizes_mm, hits).slope <= 0:
        return f"of {span} larger defects are not found more often than smaller ones"
    return ""


def fit(sizes_mm: Array, hits: Array, link: str = "logit") -> Curve:
    """Fit a curve by Fisher's scoring (iteratively reweighted least squares).

    Parameters
    ----------
    sizes_mm, hits : float64 array, shape (n,)
        Sizes and hits for which `why_not` is empty.
    """
    design = np.stack([np.ones(len(sizes_mm)), np.log(sizes_mm)], axis=1)
    beta, covariance, deviance = _scored(design, np.zeros(len(design)), hits, link)
    return Curve(sizes_mm, hits, link, float(beta[0]), float(beta[1]), covariance, deviance)


def _scored(design: Array, offset: Array, hits: Array, link: str) -> tuple[Array, Array, float]:
    """Coefficients, covariance, deviance of F(offset + design beta)."""
    law, beta = LAWS[link], np.zeros(design.shape[1])
    deviance = _deviance(law, offset, hits)
    for _ in range(MOST_STEPS):
        eta = np.clip(offset + design @ beta, -30, 30)
        pod, density = law.cdf(eta), law.density(eta)
        share = density / (pod * law.cdf(-eta))
        covariance = np.linalg.inv(design.T @ ((share * density)[:, None] * design))
        pull = share * (hits - pod)
        step = covariance @ (design.T @ pull)
        for _ in range(MOST_STEPS):  # shorter steps, until the likelihood does not fall
            new = _deviance(law, offset + design @ (beta + step), hits)
            if new <= deviance + ENOUGH:
                break
            step /= 2
        beta, deviance = beta + step, new
        if np.abs(design @ step).max() < ENOUGH:
            break
    return beta, np.asarray(covariance, np.float64), deviance


def _deviance(law: Law, eta: Array, hits: Array) -> float:
    return float(-2 * (hits * law.log(eta) + (1 - hits) * law.log(-eta)).sum())


def bound_mm(curve: Curve, pod: float, side: int = 1, confidence: float = CONFIDENCE) -> float:
    """Return the bound of the size that is found with a probability, by the likelihood ratio.

    Parameters
    ----------
    side : int
        1: upper bound (a90/95 for a POD of 0.9); -1: lower bound.
    confidence : float
        One-sided.

    Returns
    -------
    float
        Bound, mm. NaN if there is none: a curve without any slope is not rejected either.
    """
    law = LAWS[curve.link]
    quantile, logs = float(law.quantile(pod)), np.log(curve.sizes_mm)
    allowed = chi2.isf(2 * (1 - confidence), 1)
    middle = np.log(curve.size_mm(pod))

    def excess(place: float) -> float:
        """Deviance of the likeliest curve through (place, pod), above what is allowed."""
        design = (logs - place)[:, None]
        scored = _scored(design, np.full(len(logs), quantile), curve.hits, curve.link)
        return scored[2] - curve.deviance - float(allowed)

    far = 0.05
    while excess(middle + side * far) < 0:
        far *= 2
        if far > FARTHEST:
            return np.nan
    return float(np.exp(brentq(excess, middle, middle + side * far, xtol=1e-8)))


def goodness(curve: Curve) -> tuple[float, int, float]:
    """Compare expected and found hits in groups of parts of similar POD.

    Hosmer and Lemeshow, Applied Logistic Regression.

    Returns
    -------
    statistic, degrees of freedom, p : float, int, float
        NaN, 0, NaN with too few parts for three groups.
    """
    num = min(NUM_GROUPS, len(curve.hits) // LEAST_PER_GROUP)
    if num < 3:
        return np.nan, 0, np.nan
    order = np.argsort(curve.sizes_mm, kind="stable")
    sizes_mm = curve.sizes_mm[order]
    begins = np.searchsorted(sizes_mm, sizes_mm[np.arange(1, num) * len(order) // num])
    cuts = np.unique(begins[begins > 0])  # equal sizes stay together
    if len(cuts) < 2:
        return np.nan, 0, np.nan
    pod = np.split(curve.pod(sizes_mm), cuts)
    hits = np.split(curve.hits[order], cuts)
    statistic = sum(
        (h.sum() - p.sum()) ** 2 / max(p.sum() * (1 - p.mean()), 1e-12)
        for p, h in zip(pod, hits, strict=True)
    )
    num_free = len(cuts) - 1
    return float(statistic), num_free, float(chi2.sf(statistic, num_free))
