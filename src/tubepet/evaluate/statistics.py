"""Statistics features: numbers that describe a slice without a network.

They are quantiles of the intensity, quantiles of the gradient, and the radial power spectrum. Of
all cheap features in a test, only these react to weak noise, to blur, and to loss of modes. They
are standardised and projected on principal components, both fitted to the training slices.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet.dataset.stack import Images, by_pieces

Array = NDArray[np.float64]

QUANTILES = (0.5, 0.75, 0.85, 0.9, 0.95, 0.98, 0.99, 1.0)  # most of a slice is empty
NUM_RADII = 12  # bands of spatial frequency up to Nyquist
# Smaller differences do not count. Noise of MLEM is tens of per cent. A filtered image has hardly
# any power at high frequencies, so the ratio to a generator's power could be of any size.
INTENSITY_FLOOR = 0.01  # of the scale
POWER_FLOOR = INTENSITY_FLOOR**2  # the power of white noise of that strength
LOG_POWER_FLOOR = 0.1  # of log10, a quarter of the power
SAMPLES_PER_DIMENSION = 10  # least images per component, for its covariance


def image_statistics(images: Images) -> Array:
    """Describe each image.

    Parameters
    ----------
    images : array or Stack, shape (N, H, W)
        Units of the scale.

    Returns
    -------
    float64 array, shape (N, 30)
        8 quantiles, mean, standard deviation, 8 quantiles of the gradient's norm, 12 log10 powers.
    """
    (statistics,) = by_pieces([describe], images)
    return statistics


def describe(images: NDArray[np.float32]) -> Array:
    """Describe few images; `image_statistics` describes any number."""
    unit = images.astype(np.float64)
    dy, dx = np.gradient(unit, axis=(1, 2))
    pixels, steps = (a.reshape(len(unit), -1) for a in (unit, np.hypot(dy, dx)))
    columns = [
        np.quantile(pixels, QUANTILES, axis=1).T,
        pixels.mean(1, keepdims=True),
        pixels.std(1, keepdims=True),
        np.quantile(steps, QUANTILES, axis=1).T,
        radial_spectrum(unit),
    ]
    return np.concatenate(columns, axis=1)


def radial_spectrum(images: Array) -> Array:
    """Return log10 of the mean power in rings of spatial frequency, (N, H, W) -> (N, NUM_RADII)."""
    num_pixels = images.shape[1] * images.shape[2]
    power = np.abs(np.fft.fft2(images)) ** 2 / num_pixels
    fy, fx = (np.fft.fftfreq(n) for n in images.shape[1:])
    radius = np.hypot(fy[:, None], fx[None, :])
    band = np.minimum((radius / 0.5 * NUM_RADII).astype(int), NUM_RADII - 1)  # corners: last band
    rings = [power[:, band == i].mean(1) for i in range(NUM_RADII)]
    return np.log10(np.stack(rings, axis=1) + POWER_FLOOR)


@dataclass(frozen=True)
class FeatureSpace:
    """Standardisation and principal components, fitted on training slices.

    Attributes
    ----------
    describe : function
        From images (N, H, W) in units of the scale to raw features (N, d).
    mean, std : float64 array, shape (d,)
    components : float64 array, shape (k, d)
    """

    describe: Callable[[NDArray[np.float32]], Array]
    mean: Array
    std: Array
    components: Array

    def transform(self, raw: Array) -> Array:
        """Return the coordinates (N, k) of raw features (N, d)."""
        return np.asarray((raw - self.mean) / self.std @ self.components.T)

    def features(self, images: Images) -> Array:
        """Return the coordinates (N, k) of images (N, H, W) in units of the scale."""
        (raw,) = by_pieces([self.describe], images)
        return self.transform(raw)


def fit_space(statistics: Array, num_compared: int) -> FeatureSpace:
    """Fit the space of statistics features.

    Parameters
    ----------
    statistics : float64 array, shape (N, d)
        `image_statistics` of the training slices.
    num_compared : int
        Size of the smallest set that is compared.
    """
    floor = np.full(statistics.shape[1], INTENSITY_FLOOR)
    floor[-NUM_RADII:] = LOG_POWER_FLOOR
    std = np.hypot(statistics.std(0), floor)
    return principal(describe, statistics, std, num_compared)


def principal(
    describe: Callable[[NDArray[np.float32]], Array], raw: Array, std: Array, num_compared: int
) -> FeatureSpace:
    """Fit principal components to raw features (N, d) in units of `std` (d,).

    There is one component per ten of the `num_compared` images of the smallest set.
    """
    mean = raw.mean(0)
    _, _, components = np.linalg.svd((raw - mean) / std, full_matrices=False)
    k = max(1, min(num_compared // SAMPLES_PER_DIMENSION, len(components)))
    return FeatureSpace(describe, mean, std, components[:k])
