"""Principal components by a thin SVD (stage 06).

The paper's eqs. 4 and 5 with the sign of the Lagrangian corrected (MODEL.md, A1):
C u = lambda u with C = Yc^T Yc / m. Yc = U S V^T gives u = rows of V^T and lambda = S^2 / m without
ever forming the n x n covariance, n = H W >> m. Variances are divided by m - 1 here, as
scikit-learn does.
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
        Orthonormal rows, largest variance first; of each row the largest entry by magnitude is
        positive, which settles the sign.
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
    """Fit K = `num_components` components, or as many as the data carry.

    Parameters
    ----------
    y : float array, shape (m, n)
        One observation per row, m >= 2.
    num_components : int
        Wanted K.
    what : str
        What is analysed, for the log.

    Raises
    ------
    ValueError
        If there are fewer than two observations, or all are equal.
    """
    m = len(y)
    if m < 2:
        raise ValueError(f"PCA of {what}: got {m} observations, expected at least 2")
    mean = y.mean(0)
    _, singular, v = np.linalg.svd(y - mean, full_matrices=False)
    tolerance = singular[0] * max(y.shape) * np.finfo(np.float64).eps  # as numpy's matrix_rank
    rank = int((singular > tolerance).sum())
    if rank == 0:
        raise ValueError(f"PCA of {what}: all {m} observations are equal")
    if rank < num_components:
        log.info("PCA of %s: %d components instead of %d, all that %d observations carry",
                 what, rank, num_components, m)  # fmt: skip
    components = v[: min(num_components, rank)]
    largest = np.abs(components).argmax(1)
    components = components * np.sign(components[np.arange(len(components)), largest])[:, None]
    variance = singular**2 / (m - 1)
    return Pca(mean, components, variance[: len(components)], variance / variance.sum())


def scores(y: Array, pca: Pca) -> Array:
    """Project observations (m, n) on the components: T = (y - mean) U, shape (m, K)."""
    return np.asarray((y - pca.mean) @ pca.components.T)


def whitened(y: Array, pca: Pca) -> Array:
    """Return scores divided by their standard deviations over the fitted data, shape (m, K)."""
    return scores(y, pca) / np.sqrt(pca.variance)
