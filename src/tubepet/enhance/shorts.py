"""Reconstruct the short acquisitions of many tubes again, with several strengths of a method."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tubepet.dataset.slices import Slices
from tubepet.enhance.pairs import Pairs, planes
from tubepet.logs import Bar
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.algorithms.em import iterate
from tubepet.reconstruct.problem import Acquisition, Settings
from tubepet.reconstruct.read import read_acquisition
from tubepet.types import Scanner

Image = NDArray[np.float64]

MOST_KEPT = 100  # acquisitions, for the next strength; each has some 5 MB


@dataclass(frozen=True)
class Shorts:
    """The short acquisitions of all tubes.

    Attributes
    ----------
    paths : dict
        As for `read.read_acquisition`, what tubes share.
    own_paths : dict
        By tube, what they do not share.
    scanner, background, duration_s
        See `read.read_acquisition`.
    settings : Settings
        Of their images.
    """

    paths: dict[str, str]
    own_paths: dict[str, dict[str, str]]
    scanner: Scanner
    background: str
    duration_s: float
    settings: Settings

    def __call__(self, tube: str) -> Acquisition:
        """Return the model of a tube's acquisition; its first image is MLEM's, without filter."""
        both = self.paths | self.own_paths[tube]
        read = read_acquisition(both, self.scanner, self.background, self.duration_s)
        model = model_acquisition(*read, self.settings)
        plain = replace(self.settings, algorithm="mlem", stopping="fixed")
        return replace(model, start=iterate(model, plain)[0])


class Again:
    """A method that makes images from events, to be tuned by `evaluate.tuned`.

    Parameters
    ----------
    acquisition : function
        The model of a tube's short acquisition, as `Shorts`.
    reconstruct : function
        Makes an image (nz, ny, nx) in Bq/mm3 of an acquisition, with a strength. Goes on from its
        first image.
    slices : Slices
        The data set. Its scale is the activity that is 1 in slices.
    """

    def __init__(
        self, acquisition: Callable[[str], Acquisition],
        reconstruct: Callable[[Acquisition, float], Image], slices: Slices,
    ) -> None:  # fmt: skip
        self.acquisition = lru_cache(MOST_KEPT)(acquisition)
        self.reconstruct, self.slices = reconstruct, slices

    def __call__(self, pairs: Pairs, strength: float) -> NDArray[np.float32]:
        """Reconstruct the tubes of pairs; return their slices (N, H, W) in units of the scale."""
        made = np.zeros_like(pairs.short)
        for tube in Bar(np.unique(pairs.tubes), desc=f"strength {strength:g}", unit="tube"):
            model = self.acquisition(tube)
            if len(model.lines) == 0:
                continue  # no event: dark
            image = self.reconstruct(model, strength) / self.slices.scale_bq_mm3
            levels = planes(model.grid.axes_mm()[0], self.slices.volume(tube)[1])
            made[pairs.tubes == tube] = image[levels]
        return made
