"""When to stop, and how sure an image is: from the events themselves."""

import numpy as np
from numpy.typing import NDArray

from tubepet.logs import Bar, log
from tubepet.reconstruct.algorithms.em import Objective, iterate
from tubepet.reconstruct.problem import Acquisition, Settings
from tubepet.reconstruct.projection.blur import smoothed

HELD_OUT = 0.2  # share of the events
PATIENCE = 3  # iterations without a better likelihood of the held-out events


def best_iteration(model: Acquisition, settings: Settings, random: np.random.Generator) -> int:
    """Find the iteration whose image explains events best that it was not made from.

    A fifth of the events, drawn at random, is held out; the rest are those of an acquisition of
    four fifths of the time. Cross-validation of stopping: Coakley (1991, IEEE Trans. Nucl. Sci. 38,
    9).

    Returns
    -------
    int
        1..num_iterations.
    """
    is_held = random.uniform(size=len(model.lines)) < HELD_OUT
    held = Objective(model.part(np.flatnonzero(is_held), HELD_OUT), settings)
    kept = model.part(np.flatnonzero(~is_held), 1 - HELD_OUT)
    fits: list[float] = []

    def watch(image: NDArray[np.float64]) -> bool:
        fits.append(held.log_likelihood(image))
        return len(fits) - 1 - int(np.argmax(fits)) >= PATIENCE

    image, _ = iterate(kept, settings, watch)
    if len(fits) == settings.num_iterations:
        watch(image)
    best = max(int(np.argmax(fits)), 1)
    log.info(
        "%d of %d events held out: their log-likelihood is highest after iteration %d%s",
        is_held.sum(), len(is_held), best,
        ", the last allowed" if best == settings.num_iterations else "",
    )  # fmt: skip
    return best


def error_image(
    model: Acquisition, settings: Settings, num_resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Estimate the standard deviation of every voxel by bootstrap over events.

    Each of the `num_resamples` images is made from the events drawn with replacement, each a
    Poisson number of times (Haynor and Woods 1989, IEEE Trans. Med. Imaging 8, 337; Dahlbom 2002,
    IEEE Trans. Nucl. Sci. 49, 2062). All have `settings.num_iterations` iterations.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Bq/mm3; its own relative error is 1 / sqrt(2 (num_resamples - 1)).
    """
    mean, square = np.zeros(model.grid.shape), np.zeros(model.grid.shape)
    for n in Bar(range(1, num_resamples + 1), desc="bootstrap"):
        repeats = random.poisson(1.0, len(model.lines))
        image, _ = iterate(model.part(np.repeat(np.arange(len(repeats)), repeats)), settings)
        image = smoothed(image, model.grid, settings.filter_fwhm_mm)
        change = image - mean
        mean += change / n
        square += change * (image - mean)
    deviation: NDArray[np.float64] = np.sqrt(square / (num_resamples - 1))
    return deviation
