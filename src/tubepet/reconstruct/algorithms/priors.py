"""Priors of images: relative differences and total variation.

The relative difference prior (Nuyts et al. 2002, doi:10.1109/TNS.2002.998681) sums over pairs of
neighbours, with w = 1 for the nearest and less for farther ones:

    R(x) = sum_pairs w kappa_j kappa_k (x_j - x_k)^2 / (x_j + x_k + GAMMA |x_j - x_k| + epsilon)

Epsilon is a share of the image. So prior and likelihood keep their balance if activity and counts
double. Without epsilon, R has kinks where both voxels are 0. With kappa^2 the curvature of the
likelihood (`em.Objective.kappa`), R damps a change of a voxel alike everywhere (Fessler and Rogers
1996, doi:10.1109/83.535846; Tsai et al. 2020, doi:10.1109/TMI.2019.2913889).

Total variation (Rudin, Osher and Fatemi 1992, doi:10.1016/0167-2789(92)90242-F) enters by EM-TV
(Sawatzky et al. 2008, IEEE Nuclear Science Symposium, 5133): a weighted denoising follows each EM
update. Chambolle's dual projection (2004, doi:10.1023/B:JMIV.0000011325.36760.1e) solves it.
"""

import numpy as np
from numpy.typing import NDArray

from tubepet.types import Grid

Image = NDArray[np.float64]

GAMMA = 2.0  # keeps edges: differences far above the mean cost linearly (Nuyts et al.)
TV_STEPS = 40  # of the dual projection; started where the last denoising ended


def neighbour_weights(grid: Grid) -> tuple[float, ...]:
    """Weight of a neighbour along z, y and x: the smallest voxel size over the distance."""
    return tuple(min(grid.voxel_mm) / size for size in grid.voxel_mm)


def relative_differences(
    image: Image, grid: Grid, kappa: Image, epsilon: float
) -> tuple[float, Image, Image]:
    """Return R, its gradient, and the diagonal of a curvature that bounds it at the image.

    Parameters
    ----------
    image : float64 array, shape (nz, ny, nx)
        >= 0. A pair of zeros costs nothing.
    kappa : float64 array, shape (nz, ny, nx)
        Weight of each voxel, >= 0; the weight of a pair is their product.
    epsilon : float
        >= 0, in the unit of the image.
    """
    total, gradient, curvature = 0.0, np.zeros_like(image), np.zeros_like(image)
    for axis, weight in enumerate(neighbour_weights(grid)):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        a, b, both = image[low], image[high], weight * kappa[low] * kappa[high]
        difference = a - b
        size = np.abs(difference)
        denominator = a + b + GAMMA * size + epsilon
        safe = np.where(denominator > 0, denominator, 1.0)
        ratio = difference / safe
        total += float((both * difference * ratio).sum())
        # d/da d^2/D = 2 d/D - (d/D)^2 (1 + GAMMA sign d); for b the same with -d
        slope_a = 2 * ratio - ratio**2 * (1 + GAMMA * np.sign(difference))
        slope_b = -2 * ratio - ratio**2 * (1 - GAMMA * np.sign(difference))
        # the second derivative is 2 (2 b + epsilon)^2 / D^3 for a, at most 2 / D (1 + |ratio|)^2
        bound = np.where(denominator > 0, 2 * (1 + np.abs(ratio)) ** 2 / safe, 0.0)
        gradient[low] += both * slope_a
        gradient[high] += both * slope_b
        curvature[low] += both * bound
        curvature[high] += both * bound
    return total, gradient, curvature


def total_variation(image: Image, grid: Grid) -> float:
    """Sum of the lengths of forward-difference gradients, times the smallest voxel size."""
    return float(np.sqrt((_gradient(image, neighbour_weights(grid)) ** 2).sum(axis=0)).sum())


def denoise(
    image: Image, weights: Image, grid: Grid, dual: Image, num_steps: int = TV_STEPS
) -> Image:
    """Minimise sum (u - image)^2 / (2 weights) + total_variation(u) over u >= 0.

    Parameters
    ----------
    image, weights : float64 arrays, shape (nz, ny, nx)
        weights >= 0, in the unit of the image; where they are 0 the image is kept.
    dual : float64 array, shape (3, nz, ny, nx)
        Dual variable: the start, overwritten with the result. Zeros the first time.
    """
    factors = neighbour_weights(grid)
    step = 1.0 / (4 * sum(f**2 for f in factors) * max(float(weights.max()), 1e-300))
    moved, momentum = dual.copy(), 1.0
    for _ in range(num_steps):  # accelerated as by Beck and Teboulle (2009)
        found = image + weights * _divergence(moved, factors)
        new = moved + step * _gradient(np.maximum(found, 0.0), factors)
        new /= np.maximum(1.0, np.sqrt((new**2).sum(axis=0)))
        later = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        moved = new + (momentum - 1) / later * (new - dual)
        dual[...], momentum = new, later
    return np.maximum(image + weights * _divergence(dual, factors), 0.0)


def _gradient(image: Image, factors: tuple[float, ...]) -> Image:
    gradient = np.zeros((3, *image.shape))
    for axis, factor in enumerate(factors):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        gradient[(axis, *low)] = factor * np.diff(image, axis=axis)
    return gradient


def _divergence(dual: Image, factors: tuple[float, ...]) -> Image:
    """Minus the adjoint of `_gradient`."""
    total = np.zeros(dual.shape[1:])
    for axis, factor in enumerate(factors):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        total[low] += factor * dual[(axis, *low)]
        total[high] -= factor * dual[(axis, *low)]
    return total
