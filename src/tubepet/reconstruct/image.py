"""Make images in Bq/mm3 from the model of an acquisition, and estimate their errors."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from tubepet import rng
from tubepet.logs import log
from tubepet.reconstruct import frames
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.algorithms.em import COLUMNS, iterate
from tubepet.reconstruct.algorithms.stopping import best_iteration, error_image, to_convergence
from tubepet.reconstruct.frames import Interval
from tubepet.reconstruct.problem import Acquisition, Instrument, Measurement, Settings
from tubepet.reconstruct.projection.blur import smoothed
from tubepet.types import Volume


def reconstruct(model: Acquisition, settings: Settings, seed: int) -> tuple[Volume, pd.DataFrame]:
    """Reconstruct one acquisition.

    Parameters
    ----------
    model : Acquisition
    settings : Settings
    seed : int
        Draws the events that are held out for stopping.

    Returns
    -------
    Volume of float32
        Activity, Bq/mm3. All zero (with a warning) if no LOR crosses the image.
    DataFrame
        `em.COLUMNS`, one row per iteration, before the filter.
    """
    if len(model.lines) == 0:
        log.warning("no coincidence crosses the image: the image is zero everywhere")
        nothing = pd.DataFrame({name: [0.0] for name in COLUMNS}).astype({"iteration": int})
        return Volume(np.zeros(model.grid.shape, np.float32), model.grid, "Bq/mm3"), nothing
    if settings.stopping == "held_out":
        random = rng.stream(seed, "reconstruct", "held_out")
        settings = replace(settings, num_iterations=best_iteration(model, settings, random))
    run = to_convergence if settings.stopping == "converged" else iterate
    image, trace = run(model, settings)
    trace[["log_likelihood", "objective"]] += model.log_scale
    for row in trace.itertuples():
        log.info(
            "iteration %d: log-likelihood %.3f, objective %.3f, %.6g Bq in the image",
            row.iteration, row.log_likelihood, row.objective, row.total_bq,
        )  # fmt: skip
    log.info("%.1f counts explained as scatter and randoms", model.background_counts)
    image = smoothed(image, model.grid, settings.filter_fwhm_mm).astype(np.float32)
    return Volume(image, model.grid, "Bq/mm3"), trace


def estimate_error(model: Acquisition, settings: Settings, num_resamples: int, seed: int) -> Volume:
    """Estimate the standard deviation of every voxel by bootstrap over events.

    All resamples share one estimate of scatter and randoms.

    Parameters
    ----------
    num_resamples : int
        Images made from resampled events, >= 2.

    Returns
    -------
    Volume of float32
        Bq/mm3.
    """
    random = rng.stream(seed, "reconstruct", "bootstrap")
    error = error_image(model, settings, num_resamples, random)
    log.info("%d resamples; mean error %.4g Bq/mm3", num_resamples, error.mean())
    return Volume(error.astype(np.float32), model.grid, "Bq/mm3")


def reconstruct_frames(
    measured: Measurement,
    instrument: Instrument,
    settings: Settings,
    frames_s: Sequence[Interval],
    half_life_s: float,
    seed: int,
) -> list[Volume]:
    """Reconstruct frames of one acquisition, each as if it had been measured alone.

    Parameters
    ----------
    measured : Measurement
        The whole acquisition, events with times.
    frames_s : sequence of (float, float)
        Start and stop of each frame, s (`frames.intervals`); they may overlap.
    half_life_s : float
        Half-life of the nuclide; 0: no decay, as in simulations of constant activity.

    Returns
    -------
    list of Volume of float32
        Activity at the start of the acquisition, Bq/mm3.

    Raises
    ------
    InputError
        As `frames.is_within` and `model_acquisition`.
    """
    images = []
    for interval in frames_s:
        log.info("frame %g to %g s", *interval)
        model = model_acquisition(_within(measured, interval), instrument, settings)
        image, _ = reconstruct(model, settings, seed)
        images.append(frames.corrected(image, interval, half_life_s))
    return images


def _within(measured: Measurement, interval: Interval) -> Measurement:
    """Return the measurement of one frame."""
    events, delayed = measured.events, measured.delayed
    return replace(
        measured,
        events=frames.cut(events, measured.duration_s, interval),
        delayed=None if delayed is None else frames.cut(delayed, measured.duration_s, interval),
        duration_s=interval[1] - interval[0],
    )
