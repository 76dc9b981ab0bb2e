"""When to stop, and how sure an image is: from the events themselves."""

import numpy as np
from numpy.typing import NDArray

from tubepet.logs import Bar, log
from tubepet.reconstruct.algorithms.em import iterate, log_likelihood, smoothed
from tubepet.reconstruct.projection.blur import Kernel, blurred
from tubepet.reconstruct.projection.lines import Lines, taken
from tubepet.types import Grid

HELD_OUT = 0.2  # share of the events
PATIENCE = 3  # iterations without a better likelihood of the held-out events


def best_iteration(
    lines: Lines,
    grid: Grid,
    sensitivity_s: NDArray[np.float64],
    start: NDArray[np.float64],
    max_iterations: int,
    num_subsets: int,
    psf: Kernel,
    algorithm: str,
    prior_strength: float,
    random: np.random.Generator,
) -> int:
    """Find the iteration whose image explains events best that it was not made from.

    A fifth of the events, drawn at random, is held out; the rest are those of an acquisition of
    four fifths of the time. Cross-validation of stopping: Coakley (1991, IEEE Trans. Nucl. Sci. 38,
    9).

    Returns
    -------
    int
        1..max_iterations.
    """
    is_held = random.uniform(size=len(lines.first)) < HELD_OUT
    held, kept = (taken(lines, np.flatnonzero(mask)) for mask in (is_held, ~is_held))
    seen = blurred(sensitivity_s, grid, psf) * HELD_OUT
    fits: list[float] = []

    def watch(image: NDArray[np.float64]) -> bool:
        fits.append(log_likelihood(image, blurred(image, grid, psf), grid, held, seen))
        return len(fits) - 1 - int(np.argmax(fits)) >= PATIENCE

    image, _ = iterate(
        kept,
        grid,
        sensitivity_s * (1 - HELD_OUT),
        start,
        max_iterations,
        num_subsets,
        psf,
        algorithm,
        prior_strength,
        watch,
    )
    if len(fits) == max_iterations:
        watch(image)
    best = max(int(np.argmax(fits)), 1)
    log.info(
        "%d of %d events held out: their log-likelihood is highest after iteration %d%s",
        is_held.sum(),
        len(is_held),
        best,
        ", the last allowed" if best == max_iterations else "",
    )
    return best


def error_image(
    lines: Lines,
    grid: Grid,
    sensitivity_s: NDArray[np.float64],
    start: NDArray[np.float64],
    num_iterations: int,
    num_subsets: int,
    psf: Kernel,
    algorithm: str,
    prior_strength: float,
    filter_fwhm_mm: float,
    num_resamples: int,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Estimate the standard deviation of every voxel by bootstrap over events.

    Each of the `num_resamples` images is made from the events drawn with replacement, each a
    Poisson number of times (Haynor and Woods 1989, IEEE Trans. Med. Imaging 8, 337; Dahlbom 2002,
    IEEE Trans. Nucl. Sci. 49, 2062).

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Bq/mm3; its own relative error is 1 / sqrt(2 (num_resamples - 1)).
    """
    mean, square = np.zeros(grid.shape), np.zeros(grid.shape)
    for n in Bar(range(1, num_resamples + 1), desc="bootstrap"):
        repeats = random.poisson(1.0, len(lines.first))
        image, _ = iterate(
            taken(lines, np.repeat(np.arange(len(repeats)), repeats)),
            grid,
            sensitivity_s,
            start,
            num_iterations,
            num_subsets,
            psf,
            algorithm,
            prior_strength,
        )
        image = smoothed(image, grid, filter_fwhm_mm)
        change = image - mean
        mean += change / n
        square += change * (image - mean)
    deviation: NDArray[np.float64] = np.sqrt(square / (num_resamples - 1))
    return deviation
