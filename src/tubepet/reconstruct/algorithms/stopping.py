"""Decide from the events when iterations stop, and estimate the error of an image."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.logs import Bar, log
from tubepet.reconstruct.algorithms.em import Objective, iterate
from tubepet.reconstruct.problem import Acquisition, Settings
from tubepet.reconstruct.projection.blur import smoothed

HELD_OUT = 0.2  # share of the events
PATIENCE = 3  # iterations without a better likelihood of the held-out events
# Distance from the converged image, half of PETRIC's limit of 1 % of the mean: the real distance is
# a little larger than the estimate, because slow directions outlast the others.
TOLERANCE = 0.005
RATE_STEPS = 10  # the rate at which steps shorten is measured over so many


def best_iteration(model: Acquisition, settings: Settings, random: np.random.Generator) -> int:
    """Find the iteration whose image explains held-out events best.

    A random fifth of the events is held out. The rest are treated as an acquisition of four fifths
    of the time. Cross-validation of stopping: Coakley (1991, IEEE Trans. Nucl. Sci. 38, 9).

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


def to_convergence(
    model: Acquisition, settings: Settings
) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """Iterate until the image is as good as the converged one; returns as `em.iterate`.

    If each step is q times the one before, a distance of step q / (1 - q) is left. Both are root
    mean squares over the voxels, weighted with their activity, over the mean activity with the same
    weights. So no region has to be drawn. PETRIC (PET Rapid Image reconstruction Challenge) asks
    for 1 % of the background's mean over the whole object. A warning tells if
    `settings.num_iterations` are too few.

    Raises
    ------
    InputError
        Without the relative difference prior. The likelihood alone converges to noise, and EM-TV
        has no objective that rises in every step.
    """
    if settings.algorithm != "map_rdp" or not settings.has_prior:
        raise InputError(
            f"stopping: got converged with algorithm {settings.algorithm} and prior_strength "
            f"{settings.prior_strength:g}, expected map_rdp and a strength above 0"
        )
    last: NDArray[np.float64] | None = None
    steps: list[float] = []

    def watch(image: NDArray[np.float64]) -> bool:
        nonlocal last
        if last is not None:
            steps.append(_distance(image, last))
        last = image.copy()
        return _left(steps) <= TOLERANCE

    image, trace = iterate(model, settings, watch)
    is_converged = watch(image) if len(steps) < len(trace) - 1 else _left(steps) <= TOLERANCE
    say = log.info if is_converged else log.warning
    say(
        "%s after %d iterations: about %.2g %% of the mean activity from the converged image%s",
        "converged" if is_converged else "not converged", len(trace) - 1, 100 * _left(steps),
        "" if is_converged else f", expected {100 * TOLERANCE:g} % (reconstruct.num_iterations)",
    )  # fmt: skip
    return image, trace


def _left(steps: list[float]) -> float:
    """Estimate the distance left after these steps; infinite if there are too few to tell."""
    if len(steps) <= RATE_STEPS or steps[-1] == 0:
        return float("inf")
    rate = (steps[-1] / steps[-1 - RATE_STEPS]) ** (1 / RATE_STEPS)
    return steps[-1] * rate / (1 - rate) if rate < 1 else float("inf")


def _distance(image: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Root mean square difference over the mean of `image`, both weighted with `image`."""
    total = float(image.sum())
    mean = float((image**2).sum()) / total
    return float(np.sqrt((image * (image - other) ** 2).sum() / total)) / mean


def error_image(
    model: Acquisition, settings: Settings, num_resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """Estimate the standard deviation of every voxel by bootstrap over events.

    Each of the `num_resamples` images takes every event a Poisson number of times (Haynor and Woods
    1989, IEEE Trans. Med. Imaging 8, 337; Dahlbom 2002, IEEE Trans. Nucl. Sci. 49, 2062). All have
    `settings.num_iterations` iterations.

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
