"""A channelised Hotelling observer that scans the image: a stand-in for a person who looks at it.

At every place the image is seen through channels, a few bands of spatial frequency (dense
differences of Gaussians, Abbey and Barrett 2001, doi:10.1364/JOSAA.18.000473; here in three
dimensions). The template is the best linear one, w = S^-1 (mean with a defect - mean without), with
S the covariance without. A part's score is its largest response over all places (Yendiki and
Fessler 2007, doi:10.1364/JOSAA.24.000B99; Gifford 2013, doi:10.1118/1.4823754). Defects either
remove activity or add some, so there are two templates.

A second observer has the bands of the drawing beside those of the image. S contains how much of the
image they explain. Both observers look where the drawing has fluid nearby.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tubepet.errors import InputError
from tubepet.observers.learned import LEAST_CHANGE, scaled
from tubepet.observers.read import Volumes

Array = NDArray[np.float64]

WIDTHS_VOXELS = (0.8, 1.34, 2.24, 3.74)  # sd; each 1.67 times the one before, as Abbey's bands
NEAR_FLUID = 0.2  # of the blurred drawing, at a place that is looked at
SIGNS = (-1, 1)  # of what a defect adds to the fluid


@dataclass(frozen=True)
class Template:
    """What one kind of defect looks like in the channels.

    Attributes
    ----------
    weights : float64 array, shape (channels,)
        Scaled so that responses without a defect have a standard deviation of 1.
    mean : float64 array, shape (channels,)
        Mean of the channels without a defect.
    detectability : float
        d': mean response at defects, in standard deviations without.
    """

    weights: Array
    mean: Array
    detectability: float

    def responses(self, channels: Array) -> Array:
        """Return responses of places, (places, channels) -> (places,)."""
        return np.asarray((channels - self.mean) @ self.weights)


def template(signal: Array, mean: Array, covariance: Array) -> Template:
    """Return the Hotelling template.

    Parameters
    ----------
    signal, mean : float64 array, shape (channels,)
        Mean change of the channels by a defect, and their mean without.
    covariance : float64 array, shape (channels, channels)
        Covariance of the channels without a defect.
    """
    direction = np.linalg.solve(covariance, signal)
    detectability = float(np.sqrt(direction @ signal))
    return Template(np.asarray(direction / detectability, np.float64), mean, detectability)


def bands(volume: NDArray[np.float32]) -> Array:
    """See a volume through the channels at every place, (nz, ny, nx) -> (nz, ny, nx, bands)."""
    blurs = [gaussian_filter(volume.astype(np.float64), width) for width in WIDTHS_VOXELS]
    return np.stack([fine - coarse for fine, coarse in pairwise(blurs)], -1)


def seen(volume: Volumes, has_drawing: bool) -> tuple[Array, NDArray[np.intp]]:
    """Return the channels of all places of a part that have fluid nearby, and these places.

    Parameters
    ----------
    volume : float32 array, shape (4, nz, ny, nx)
        `read.CHANNELS`, scaled.

    Returns
    -------
    float64 array, shape (places, channels)
    int array, shape (places,)
        Index into the flat volume.
    """
    channels = bands(volume[0])
    if has_drawing:
        channels = np.concatenate([channels, bands(volume[1])], axis=-1)
    places = np.flatnonzero(volume[1].ravel() >= NEAR_FLUID)
    return channels.reshape(-1, channels.shape[-1])[places], places


def fit(volumes: Volumes, has_drawing: bool) -> list[Template]:
    """Learn a template for each sign of change.

    The noise is that of all places of clean parts. The place of a defect is where it changes the
    fluid most.

    Parameters
    ----------
    volumes : float32 array, shape (parts, 4, nz, ny, nx)
        `read.CHANNELS`, of training parts.

    Raises
    ------
    InputError
        If there are no clean parts, or none with a defect.
    """
    clean: list[Array] = []
    with_defect: dict[int, list[Array]] = {sign: [] for sign in SIGNS}
    for volume in scaled(volumes):
        channels, places = seen(volume, has_drawing)
        change = volume[2]
        if np.abs(change).max() < LEAST_CHANGE:
            clean.append(channels)
            continue
        sign = int(np.sign(change.sum()))
        size = gaussian_filter(sign * change, WIDTHS_VOXELS[1]).ravel()[places]
        with_defect[sign].append(channels[np.argmax(size)])
    kinds = [np.array(found) for found in with_defect.values() if found]
    if not clean or not kinds:
        raise InputError(
            f"observers: got {len(clean)} clean training parts of {len(volumes)}, expected both "
            "kinds (more observers.train_parts, larger defects)"
        )
    without = np.concatenate(clean)
    mean, covariance = without.mean(axis=0), np.cov(without, rowvar=False)
    return [template(found.mean(axis=0) - mean, mean, covariance) for found in kinds]


def scores(templates: list[Template], volumes: Volumes, has_drawing: bool) -> Array:
    """Return the largest response of each part, shape (parts,)."""
    result = []
    for volume in scaled(volumes):
        channels, _ = seen(volume, has_drawing)
        result.append(max(one.responses(channels).max() for one in templates))
    return np.array(result)
