"""Physical quantities of a slice: radius of the bore, intensities, noise power in the fluid.

The thickness of the wall is none of them: the wall emits nothing, so images do not show it.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, gaussian_filter
from skimage.measure import find_contours

Array = NDArray[np.float64]

NUM_BINS = 125  # of intensity
TOP = 1.25  # of the scale; brighter pixels count in the last bin
NUM_BANDS = 8  # of spatial frequency up to Nyquist
SMOOTHING_PX = 2.0  # standard deviation that separates shape from noise
EDGE_PX = 4  # width of the fluid's edge that is left out, where shape would count as noise


def _half_level(image: Array) -> float:
    """Return half of the mean of pixels that are brighter than half of the 99 % quantile."""
    bright = image[image > 0.5 * np.quantile(image, 0.99)]
    return 0.5 * float(bright.mean()) if bright.size else 0.0


def bore_radius_px(images: NDArray[np.float32]) -> Array:
    """Return the radius of the circle with the bore's area inside the contour at half height.

    The contour is interpolated linearly between pixels.

    Parameters
    ----------
    images : array, shape (N, H, W)
        Any unit.

    Returns
    -------
    float64 array, shape (N,)
        Pixels; 0 where there is no bore.
    """
    return np.array([_radius_px(np.asarray(image, np.float64)) for image in images])


def _radius_px(image: Array) -> float:
    level = _half_level(image)
    if level <= 0:
        return 0.0
    areas = [_area(c) for c in find_contours(np.pad(image, 1), level)]
    return float(np.sqrt(max(areas, default=0.0) / np.pi))


def _area(contour: Array) -> float:
    """Return the area of a closed polygon (shoelace formula)."""
    y, x = contour.T
    return abs(float(np.dot(y, np.roll(x, 1)) - np.dot(x, np.roll(y, 1)))) / 2


def intensity_histogram(images: NDArray[np.float32]) -> Array:
    """Return shares of pixels in bins of 1 % of the scale, (N, H, W) -> (N, NUM_BINS)."""
    bins = np.clip(np.asarray(images) * (NUM_BINS / TOP), 0, NUM_BINS - 1).astype(int)
    counts = [np.bincount(b.ravel(), minlength=NUM_BINS) for b in bins]
    return np.array(counts, np.float64) / bins[0].size


def histogram_w1(first: Array, second: Array) -> float | None:
    """Return the Wasserstein-1 distance of two histograms, in standard deviations of the second.

    None if the second has one bin only.
    """
    centres = (np.arange(NUM_BINS) + 0.5) * TOP / NUM_BINS
    mean = (second * centres).sum()
    spread = float(np.sqrt((second * (centres - mean) ** 2).sum()))
    if spread < TOP / NUM_BINS:  # one bin only
        return None
    return float(np.abs(np.cumsum(first - second)).sum() * TOP / NUM_BINS / spread)


def noise_power(images: NDArray[np.float32]) -> Array:
    """Return the noise power per pixel of fluid in rings of spatial frequency.

    Noise is the difference of an image from its smoothed self. It is taken inside the bore, away
    from its edge, and so is the smoothing.

    Parameters
    ----------
    images : array, shape (N, H, W)
        Units of the scale.

    Returns
    -------
    float64 array, shape (N, NUM_BANDS)
        NaN where an image has no fluid.
    """
    fy, fx = (np.fft.fftfreq(n) for n in images.shape[1:])
    radius = np.hypot(fy[:, None], fx[None, :])
    band = np.minimum((radius / 0.5 * NUM_BANDS).astype(int), NUM_BANDS - 1)  # corners: last band
    powers = np.full((len(images), NUM_BANDS), np.nan)
    for row, image in zip(powers, np.asarray(images, np.float64), strict=True):
        smooth = gaussian_filter(image, SMOOTHING_PX)
        level = _half_level(smooth)
        fluid = binary_erosion(smooth > level, iterations=EDGE_PX) if level > 0 else smooth > np.inf
        if fluid.any():
            local = gaussian_filter(image * fluid, SMOOTHING_PX)
            local /= np.maximum(gaussian_filter(fluid.astype(np.float64), SMOOTHING_PX), 1e-12)
            power = np.abs(np.fft.fft2((image - local) * fluid)) ** 2 / fluid.sum()
            row[:] = np.bincount(band.ravel(), power.ravel()) / np.bincount(band.ravel())
    return powers
