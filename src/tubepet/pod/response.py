"""Probability of detection from the signal, a-hat against a (ASTM E3023, MIL-HDBK-1823A).

The signal is z at the place of the defect. The model is ln z = b0 + b1 ln a + s e with a normal e.
A z below `NOISE_Z` can be noise, so it is censored: the fit knows only that it is below (Tobin
1958). A defect is found if its z exceeds the threshold of the decision.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm

Array = NDArray[np.float64]

NOISE_Z = 2.0
CONFIDENCE = 0.95  # one-sided
LEAST_SIGNALS = 5
MOST_STEPS, ENOUGH = 200, 1e-10


@dataclass(frozen=True)
class Tobit:
    """A linear model of signals, some of them censored from below, as Olsen (1978) writes it.

    Attributes
    ----------
    scaled : float64 array, shape (k + 1,)
        Coefficients over s, then 1 / s. In these the log-likelihood is concave
        (doi:10.2307/1913082).
    covariance : float64 array, shape (k + 1, k + 1)
        Covariance of `scaled`.
    log_likelihood : float
    """

    scaled: Array
    covariance: Array
    log_likelihood: float

    @property
    def coefficients(self) -> Array:
        """Coefficients of the model, shape (k,)."""
        return self.scaled[:-1] / self.scaled[-1]

    @property
    def spread(self) -> float:
        """Standard deviation s of the signals around the model."""
        return float(1 / self.scaled[-1])


def tobit(design: Array, signal: Array, is_censored: NDArray[np.bool_]) -> Tobit:
    """Fit a linear model by maximum likelihood (Newton).

    Parameters
    ----------
    design : float64 array, shape (n, k)
    signal : float64 array, shape (n,)
        Signal, or its upper limit where it is censored.
    is_censored : bool array, shape (n,)
    """
    rows = np.concatenate([-design, signal[:, None]], axis=1)  # times `scaled`: the deviates
    seen, hidden = rows[~is_censored], rows[is_censored]
    start, *_ = np.linalg.lstsq(design, signal, rcond=None)
    width = max(float(np.std(signal - design @ start)), 1e-6)
    scaled = np.append(start, 1.0) / width
    level = _log_likelihood(seen, hidden, scaled)
    for _ in range(MOST_STEPS):
        deviate = hidden @ scaled
        mills = np.exp(norm.logpdf(deviate) - norm.logcdf(deviate))
        gradient = hidden.T @ mills - seen.T @ (seen @ scaled)
        gradient[-1] += len(seen) / scaled[-1]
        curvature = seen.T @ seen + hidden.T @ ((mills * (mills + deviate))[:, None] * hidden)
        curvature[-1, -1] += len(seen) / scaled[-1] ** 2
        covariance = np.linalg.inv(curvature)
        step = covariance @ gradient
        for _ in range(MOST_STEPS):  # shorter steps, until the likelihood does not fall
            new = _log_likelihood(seen, hidden, scaled + step)
            if new >= level - ENOUGH:
                break
            step /= 2
        scaled, level = scaled + step, new
        if np.abs(rows @ step).max() < ENOUGH:
            break
    return Tobit(scaled, covariance, level)


def _log_likelihood(seen: Array, hidden: Array, scaled: Array) -> float:
    if scaled[-1] <= 0:
        return -np.inf
    known = norm.logpdf(seen @ scaled).sum() + len(seen) * np.log(scaled[-1])
    return float(known + norm.logcdf(hidden @ scaled).sum())


@dataclass(frozen=True)
class Curve:
    """POD against size from the signals.

    Attributes
    ----------
    model : Tobit
        Model of ln z by 1 and ln a. s is corrected for degrees of freedom (uncensored signals less
        2), as in least squares: that of the likelihood is too small.
    threshold_z : float
        Threshold of the decision.
    num_censored : int
    linear_p : float
        p-value of the likelihood ratio test against a further term in (ln a)^2.
    """

    model: Tobit
    threshold_z: float
    num_censored: int
    linear_p: float

    def pod(self, sizes_mm: Array) -> Array:
        """Return the probability of detection of sizes, mm."""
        shift, slope, width = self.model.scaled
        return np.asarray(
            norm.cdf(shift + slope * np.log(sizes_mm) - width * np.log(self.threshold_z))
        )

    def size_mm(self, pod: float, confidence: float = 0.5) -> float:
        """Return the size (mm) found with a probability, or its upper bound (delta method)."""
        shift, slope, width = self.model.scaled
        decision = np.log(self.threshold_z)
        place = (norm.ppf(pod) - shift + width * decision) / slope
        change = np.array([-1.0, -place, decision]) / slope
        error = np.sqrt(change @ self.model.covariance @ change)
        return float(np.exp(place + norm.ppf(confidence) * error))


def why_not(sizes_mm: Array, signal_z: Array) -> str:
    """Say in one sentence why signals have no curve; empty if they have one."""
    is_seen = signal_z > NOISE_Z
    if is_seen.sum() < LEAST_SIGNALS or len(np.unique(sizes_mm[is_seen])) < 2:
        return (
            f"{is_seen.sum()} of {len(sizes_mm)} signals are above {NOISE_Z:g}, expected at least "
            f"{LEAST_SIGNALS}: larger defects are needed for a line"
        )
    if _line(sizes_mm, signal_z, 1).scaled[1] <= 0:
        return "signals do not grow with the size of the defect"
    return ""


def fit(sizes_mm: Array, signal_z: Array, threshold_z: float) -> Curve:
    """Fit the line of signals against sizes.

    Parameters
    ----------
    sizes_mm, signal_z : float64 array, shape (n,)
        Sizes and signals for which `why_not` is empty; NaN counts as below `NOISE_Z`.
    """
    line, bent = _line(sizes_mm, signal_z, 1), _line(sizes_mm, signal_z, 2)
    gain = max(bent.log_likelihood - line.log_likelihood, 0.0)
    num_seen = int((signal_z > NOISE_Z).sum())
    model = replace(line, scaled=line.scaled * np.sqrt(1 - 2 / num_seen))
    return Curve(model, threshold_z, len(signal_z) - num_seen, float(chi2.sf(2 * gain, 1)))


def _line(sizes_mm: Array, signal_z: Array, degree: int) -> Tobit:
    is_censored = ~(signal_z > NOISE_Z)
    signal = np.log(np.where(is_censored, NOISE_Z, signal_z))
    logs = np.log(sizes_mm)
    return tobit(np.stack([logs**i for i in range(degree + 1)], axis=1), signal, is_censored)
