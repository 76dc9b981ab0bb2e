"""Principal component analysis by a thin SVD (stage 06).

The paper's eqs. 4 and 5, with the sign of the Lagrangian corrected (docs/model.md, A1), ask for
C u = lambda u with C = Yc^T Yc / m. From Yc = U S V^T follow u = rows of V^T and lambda = S^2 / m,
without the large n x n covariance (n = H W >> m). Variances here are S^2 / (m - 1), as in
scikit-learn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet.logs import log

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pca:
    """A fitted PCA.

    Attributes
    ----------
    mean : float64 array, shape (n,)
    components : float64 array, shape (K, n)
        Orthonormal rows, largest variance first. To fix the sign, the largest entry of a row by
        magnitude is positive.
    variance : float64 array, shape (K,)
        Variance of the scores.
    ratio : float64 array, shape (min(m, n),)
        Share of the total variance of every component, kept or not.
    """

    mean: Array
    components: Array
    variance: Array
    ratio: Array


def fit_pca(y: Array, num_components: int, what: str) -> Pca:
    """Fit K = `num_components` components, or fewer if the rank of the data is lower.

    Parameters
    ----------
    y : float array, shape (m, n)
        One observation per row, m >= 1. If all are equal (images without a single count), there is
        one component of zeros, and all scores are 0.
    num_components : int
        Wanted K.
    what : str
        Name of the data, for the log.

    Raises
    ------
    ValueError
        If there is no observation.
    """
    m = len(y)
    if m == 0:
        raise ValueError(f"PCA of {what}: got no observations, expected at least 1")
    mean = y.mean(0)
    _, singular, v = np.linalg.svd(y - mean, full_matrices=False)
    rounding = max(y.shape) * np.finfo(np.float64).eps * np.linalg.norm(y)
    rank = int((singular > rounding).sum())
    if rank < num_components:
        log.info("PCA of %s: %d components instead of %d, all that %d observations carry",
                 what, rank, num_components, m)  # fmt: skip
    variance = np.where(singular > rounding, singular, 0) ** 2 / max(m - 1, 1)
    ratio = variance / (variance.sum() or 1.0)
    if rank == 0:
        return Pca(mean, np.zeros((1, y.shape[1])), np.zeros(1), ratio)
    kept = min(num_components, rank)
    largest = np.abs(v[:kept]).argmax(1)
    components = v[:kept] * np.sign(v[np.arange(kept), largest])[:, None]
    return Pca(mean, components, variance[:kept], ratio)


def scores(y: Array, pca: Pca) -> Array:
    """Project observations (m, n) on the components: T = (y - mean) U, shape (m, K)."""
    return np.asarray((y - pca.mean) @ pca.components.T)


def whitened(y: Array, pca: Pca) -> Array:
    """Return scores divided by their standard deviations over the fitted data, shape (m, K)."""
    return scores(y, pca) / positive_std(pca.variance)


def positive_std(variance: Array) -> Array:
    """Return the square root of variances; 1 for a variance of 0, so that 0 / std stays 0."""
    return np.sqrt(np.where(variance > 0, variance, 1.0))
