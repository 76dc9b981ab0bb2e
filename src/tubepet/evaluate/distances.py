"""Distances between two sets of feature vectors (n, d), each checked against its definition.

Frechet: Dowson & Landau 1982, doi:10.1016/0047-259X(82)90077-X. MMD: Gretton et al. 2012, with
the kernel of KID (Binkowski et al. 2018, arXiv:1801.01401). Precision and recall: Kynkaanniemi et
al. 2019, arXiv:1904.06991; density and coverage: Naeem et al. 2020, arXiv:2002.09797.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]

CHUNK = 512  # images compared at once, which bounds the memory


def frechet(x: Array, y: Array) -> float:
    """Return |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)); fine with singular covariances."""
    cov_x, cov_y = (np.atleast_2d(np.cov(a, rowvar=False)) for a in (x, y))
    # C_x C_y is similar to a positive semidefinite matrix: its eigenvalues are real and >= 0
    root_trace = np.sqrt(np.clip(np.linalg.eigvals(cov_x @ cov_y).real, 0, None)).sum()
    shift = np.square(x.mean(0) - y.mean(0)).sum()
    return float(shift + np.trace(cov_x) + np.trace(cov_y) - 2 * root_trace)


def mmd_cubic(x: Array, y: Array) -> float:
    """Return the unbiased MMD^2 with k(a, b) = (a.b / d + 1)^3; may be negative."""
    d = x.shape[1]
    kxx, kyy, kxy = ((a @ b.T / d + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    n, m = len(x), len(y)
    within_x = (kxx.sum() - np.trace(kxx)) / (n * (n - 1))
    within_y = (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
    return float(within_x + within_y - 2 * kxy.mean())


def prdc(real: Array, fake: Array, k: int) -> dict[str, float]:
    """Return precision, recall, density and coverage with balls to the k-th neighbour."""
    real_radius, fake_radius = (np.sort(cdist(a, a), axis=1)[:, k] for a in (real, fake))
    distance = cdist(real, fake)  # (real, fake)
    in_real_ball = distance < real_radius[:, None]
    return {
        "precision": float(in_real_ball.any(0).mean()),
        "recall": float((distance < fake_radius[None, :]).any(1).mean()),
        "density": float(in_real_ball.sum(0).mean() / k),
        "coverage": float(in_real_ball.any(1).mean()),
    }


def nearest_training(
    images: NDArray[np.float32], training: NDArray[np.float32]
) -> tuple[Array, NDArray[np.intp]]:
    """Return the distance (root mean square, units of the images) to the nearest training image.

    Rotations by 90 degrees and mirror images of the training set count as copies too.

    Returns
    -------
    distance : float64 array, shape (N,)
    index : int array, shape (N,)
        Which training image it is.
    """
    parts = [
        _nearest(images[start : start + CHUNK], training) for start in range(0, len(images), CHUNK)
    ]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _nearest(
    images: NDArray[np.float32], training: NDArray[np.float32]
) -> tuple[Array, NDArray[np.intp]]:
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    best = np.full(len(images), np.inf)
    index = np.zeros(len(images), np.intp)
    for start in range(0, len(training), CHUNK):
        for element in range(8):
            turned = np.rot90(training[start : start + CHUNK], element % 4, axes=(1, 2))
            turned = turned[:, :, ::-1] if element >= 4 else turned
            candidates = np.asarray(turned, np.float64).reshape(len(turned), -1)
            # |a - b|^2 up to |a|^2; only the winner's distance is computed without cancellation
            nearest = (np.square(candidates).sum(1) - 2 * flat @ candidates.T).argmin(1)
            value = np.sqrt(np.square(flat - candidates[nearest]).mean(1))
            index = np.where(value < best, start + nearest, index)
            best = np.minimum(best, value)
    return best, index
