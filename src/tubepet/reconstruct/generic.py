"""Images from lines of any scanner: no symmetry, no background model, sensitivity from pairs."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import rng
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct.algorithms import em
from tubepet.reconstruct.algorithms.stopping import best_iteration
from tubepet.reconstruct.projection.blur import Kernel
from tubepet.reconstruct.projection.lines import Lines, forward_sums, taken
from tubepet.types import Volume


def reconstruct(
    name: str | Path,
    points_mm: NDArray[np.float64],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    sensitivity: Volume,
    duration_s: float,
    num_iterations: int,
    num_subsets: int,
    psf: Kernel,
    filter_fwhm_mm: float,
    algorithm: str = "mlem",
    prior_strength: float = 0.0,
    stopping: str = "fixed",
    seed: int = 0,
    backend: str = "numba",
) -> tuple[Volume, pd.DataFrame]:
    """Reconstruct lines without a background: scatter and randoms stay in the image.

    Parameters
    ----------
    name : str or Path
        The file of the lines, for errors.
    points_mm, first, second
        As in `Lines`.
    sensitivity : Volume
        With attenuation, mm3 (`sensitivity.of_pairs`).
    duration_s ... backend
        As `mlem.reconstruct`.

    Returns
    -------
    Volume of float32
        Activity, Bq/mm3 if the efficiencies are absolute.
    DataFrame
        As `em.iterate`.

    Raises
    ------
    InputError
        If no line crosses the image, or one crosses only voxels of sensitivity 0.
    """
    grid = sensitivity.grid
    ends = (points_mm, first.astype(np.int32), second.astype(np.int32))
    lines = Lines(*ends, np.zeros(len(first)), backend=backend)
    is_used = forward_sums(np.ones(grid.shape), grid, lines) > 0
    log.info("%d coincidences in, %d through the image", len(first), is_used.sum())
    if not is_used.any():
        raise InputError(
            f"{name}: no line crosses the image, expected lines in mm about its middle"
        )
    lines = taken(lines, np.flatnonzero(is_used))
    is_seen = (sensitivity.array > 0).astype(np.float64)
    num_blind = int((forward_sums(is_seen, grid, lines) <= 0).sum())
    if num_blind:
        raise InputError(
            f"{name}: got {num_blind} events on lines where the sensitivity is 0, expected the "
            "scanner of these events (or more --pairs)"
        )
    seen = duration_s * sensitivity.array.astype(np.float64)
    start = np.full(grid.shape, len(lines.first) / seen.sum())
    problem = (lines, grid, seen, start)
    settings = (num_subsets, psf, algorithm, prior_strength)
    if stopping == "held_out":
        random = rng.stream(seed, "reconstruct", "held_out")
        num_iterations = best_iteration(*problem, num_iterations, *settings, random)
    image, trace = em.iterate(*problem, num_iterations, *settings)
    image = em.smoothed(image, grid, filter_fwhm_mm).astype(np.float32)
    return Volume(image, grid, "Bq/mm3"), trace
