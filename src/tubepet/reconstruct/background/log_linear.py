"""Maximum-likelihood fit of counts whose expectation is log-linear in a few parameters."""

import numpy as np
from numpy.typing import NDArray

MAX_STEPS = 50
TOLERANCE = 1e-10  # relative change of the log-likelihood; the fits converge quadratically


def fit_log_linear(
    design: NDArray[np.float64],
    exposure: NDArray[np.float64],
    background: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Fit counts ~ Poisson(exposure * exp(design @ b) + background) by Fisher scoring.

    McCullagh and Nelder (1989), Generalized Linear Models, section 2.5.

    Parameters
    ----------
    design : float64 array, shape (n, p)
        First column ones.
    exposure, background, counts : float64 array, shape (n,)
        Counts must exceed the background in total.

    Returns
    -------
    float64 array, shape (p,)
        Coefficients b.
    """
    coefficients: NDArray[np.float64] = np.zeros(design.shape[1])
    coefficients[0] = np.log((counts.sum() - background.sum()) / exposure.sum())
    best = -np.inf
    step: NDArray[np.float64] = np.zeros(design.shape[1])
    for _ in range(MAX_STEPS):
        signal = exposure * np.exp(design @ (coefficients + step))
        mean = np.maximum(signal + background, np.finfo(float).tiny)
        likelihood = float(counts @ np.log(mean) - mean.sum())
        if likelihood < best:  # overshot
            step /= 2
            continue
        coefficients += step
        if likelihood - best <= TOLERANCE * abs(likelihood):
            break
        best = likelihood
        score = design.T @ (signal * (counts / mean - 1))
        information = (design.T * (signal**2 / mean)) @ design
        # least squares: terms that the data cannot tell apart leave the matrix singular
        scale = np.maximum(np.abs(design).max(axis=0), np.finfo(float).tiny)
        solution = np.linalg.lstsq(information / np.outer(scale, scale), score / scale)[0]
        step = (solution / scale).astype(np.float64)
    return coefficients
