"""From coincidences to an image in Bq/mm3: the model of every LOR, then `em`."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import rng
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct.algorithms import em
from tubepet.reconstruct.algorithms.stopping import best_iteration, error_image
from tubepet.reconstruct.background import randoms, scatter, tail_fit
from tubepet.reconstruct.projection import joseph, sensitivity
from tubepet.reconstruct.projection.blur import Kernel
from tubepet.reconstruct.projection.lines import Lines, forward_sums, taken
from tubepet.reconstruct.scanner import checks, geometry, time_of_flight
from tubepet.types import Listmode, Scanner, Volume

# Of the modelled background: images made only to simulate scatter from them. Scatter is smooth and
# follows the total, which few iterations settle.
SCATTER_ROUNDS = 2
SCATTER_ITERATIONS = 4


def check_times(events: Listmode, delayed: Listmode | None) -> None:
    """Refuse time of flight without time differences, or with a background that has none."""
    if delayed is None:
        raise InputError(
            "time of flight: got a fitted background, expected randoms from the delayed window and "
            "simulated scatter (reconstruct.background: modelled, --randoms delayed), whose times "
            "are known"
        )
    if not np.isfinite(events.time_difference_ns).all():
        raise InputError("coincidences: got NaN or infinite time differences, expected ns")
    if len(events) > 1 and not events.time_difference_ns.any():
        raise InputError("time of flight: all time differences are 0, expected measured ones, ns")


@dataclass(frozen=True)
class Acquisition:
    """The model of one acquisition, ready for `em.iterate`.

    Attributes
    ----------
    lines : Lines
        Coincidences through the image, neighbours next to each other.
    sensitivity_s : float64 array, shape (nz, ny, nx)
        Expected counts per Bq/mm3 in a voxel, mm3 s.
    start : float64 array, shape (nz, ny, nx)
        Uniform first image, Bq/mm3.
    background_counts : float
        Scatter and randoms on all LORs through the image.
    log_scale : float
        Part of the log-likelihood that no image changes.
    """

    lines: Lines
    sensitivity_s: NDArray[np.float64]
    start: NDArray[np.float64]
    background_counts: float
    log_scale: float


def model_acquisition(
    events: Listmode,
    scanner: Scanner,
    efficiency: NDArray[np.float64],
    geometric: Volume,
    mu: Volume,
    duration_s: float,
    sensitivity_stride: int,
    psf: Kernel,
    delayed: Listmode | None,
    tof: bool = False,
    backend: str = "numba",
) -> Acquisition:
    """Model every LOR of an acquisition; parameters and errors as `reconstruct`."""
    checks.check_crystals(events, scanner)
    is_allowed = geometry.is_allowed_step(scanner)[geometry.column_steps(events, scanner)]
    if not is_allowed.all():
        log.info("%d coincidences of crystals too near to each other left out", (~is_allowed).sum())
        events = events.at(is_allowed)
    tof_mm, tof_table = joseph.NO_TOF, joseph.NO_TOF
    if tof:
        check_times(events, delayed)
        tof_mm = time_of_flight.positions_mm(events.time_difference_ns).astype(np.float32)
        tof_table = joseph.tof_table(time_of_flight.sigma_mm(scanner))
    grid, points = geometric.grid, geometry.crystal_points_mm(scanner)
    checks.check_ends("scanner", points, grid)
    checks.check_attenuation("attenuation map", mu, points, grid)
    areas_mm2 = geometry.lor_areas_mm2(scanner, efficiency)
    field = tail_fit.enclosing_cylinder(np.ones(grid.shape, bool), grid)
    coordinates = tail_fit.event_coordinates(events, scanner)
    if delayed is None:
        additive, background_counts = _tail_fit(events, scanner, areas_mm2, mu, field)
    else:
        additive, background_counts = _randoms(events, delayed, scanner, field)
        additive = additive / time_of_flight.reach_mm(scanner) if tof else additive
    ends = (points, events.crystal1, events.crystal2)
    all_lines = Lines(*ends, additive, tof_mm, tof_table, backend)
    length_mm = forward_sums(np.ones(grid.shape), grid, all_lines)
    is_used = tail_fit.touches(*coordinates, field) & ((length_mm > 0) | (additive > 0))
    log.info("%d coincidences in, %d through the image", len(events), is_used.sum())

    # neighbours in this order touch the same voxels
    order = np.flatnonzero(is_used)
    columns = (events.crystal2 % scanner.num_columns, events.crystal1 % scanner.num_columns)
    order = order[np.lexsort([column[order] for column in columns])]
    first, second = events.crystal1[order], events.crystal2[order]
    attenuation = np.exp(-joseph.forward(mu.array, mu.grid, points, first, second))
    ring1, ring2 = geometry.rings(events, scanner)
    areas = areas_mm2[geometry.column_steps(events, scanner), np.abs(ring1 - ring2)][order]
    if (areas <= 0).any():
        raise InputError(
            f"coincidences: got {int((areas <= 0).sum())} on crystal pairs of efficiency 0, where "
            "the sensitivity is 0 too, expected the calibration of their scanner"
        )
    scale = duration_s * areas * attenuation  # m_i of `em`, mm2 s
    lines = taken(all_lines, order)
    lines = replace(lines, additive=lines.additive / scale)
    seen = duration_s * sensitivity.attenuated_sensitivity(
        geometric.array, scanner, grid, efficiency, mu, sensitivity_stride
    )

    def modelled(lines: Lines, background_counts: float) -> Acquisition:
        level = max(len(first) - background_counts, 1.0) / seen.sum()
        log_scale = float(np.log(scale).sum()) - background_counts
        start = np.full(grid.shape, level)
        return Acquisition(lines, seen, start, background_counts, log_scale)

    model = modelled(lines, background_counts)
    if delayed is None or len(first) == 0:
        return model
    detection = scatter.detection_table(scanner)
    used = events.at(order)
    for _ in range(SCATTER_ROUNDS):
        problem = (model.lines, grid, seen, model.start)
        image, _ = em.iterate(*problem, SCATTER_ITERATIONS, 1, psf)
        fixed = (image, grid, mu, scanner, efficiency, detection)
        rates = scatter.moments(*fixed, num_moments=3 if tof else 1)
        if tof:
            scattered = scatter.event_densities(
                rates, used, scanner, time_of_flight.sigma_mm(scanner)
            )
        else:
            scattered = scatter.event_counts(rates[0], used, scanner)
        counts = scatter.lor_counts(rates[0], scanner)
        scatter_counts = duration_s * _within(counts, scanner, field)
        lines = replace(lines, additive=(additive[order] + duration_s * scattered) / scale)
        model = modelled(lines, background_counts + scatter_counts)
    log.info("%.1f randoms and %.1f scattered", background_counts, scatter_counts)
    return model


def reconstruct(
    events: Listmode,
    scanner: Scanner,
    efficiency: NDArray[np.float64],
    geometric: Volume,
    mu: Volume,
    duration_s: float,
    num_iterations: int,
    num_subsets: int,
    sensitivity_stride: int,
    psf: Kernel,
    filter_fwhm_mm: float,
    algorithm: str = "mlem",
    prior_strength: float = 0.0,
    stopping: str = "fixed",
    seed: int = 0,
    delayed: Listmode | None = None,
    tof: bool = False,
    backend: str = "numba",
) -> tuple[Volume, pd.DataFrame]:
    """Reconstruct one acquisition in Bq/mm3.

    Parameters
    ----------
    events : Listmode
        Prompts; their truth codes are not used.
    efficiency : float64 array, shape (num_columns // 2 + 1, num_rings)
        Pair efficiency by column step and ring difference (`calibrate`).
    geometric : Volume
        `sensitivity.geometric_sensitivity` on the grid of the image to make, mm3.
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    duration_s : float
    num_iterations ... stopping
        As in the config section `reconstruct`.
    seed : int
        Draws the events that are held out for stopping.
    delayed : Listmode, optional
        Pairs of the delayed window: randoms are estimated from them and scatter is simulated.
        Without, both are one smooth density fitted beside the object (`tail_fit`).
    tof : bool
        Whether time differences are used, with the scanner's time resolution. Needs `delayed`.
    backend : str
        Projector of the iterations, as in `Lines`.

    Returns
    -------
    Volume of float32
        Activity, Bq/mm3. All zero (with a warning) if no LOR crosses the image.
    DataFrame
        iteration, log_likelihood, objective, total_bq (before the last filter), one row per
        iteration.

    Raises
    ------
    InputError
        If events or attenuation cannot belong to this scanner or any object.
    """
    grid = geometric.grid
    fixed = (scanner, efficiency, geometric, mu, duration_s, sensitivity_stride, psf)
    model = model_acquisition(events, *fixed, delayed, tof, backend)
    if len(model.lines.first) == 0:
        log.warning("no coincidence crosses the image: the image is zero everywhere")
        columns = ("iteration", "log_likelihood", "objective", "total_bq")
        nothing = pd.DataFrame({name: [0.0] for name in columns}).astype({"iteration": int})
        return Volume(np.zeros(grid.shape, np.float32), grid, "Bq/mm3"), nothing
    problem = (model.lines, grid, model.sensitivity_s, model.start)
    settings = (num_subsets, psf, algorithm, prior_strength)
    if stopping == "held_out":
        random = rng.stream(seed, "reconstruct", "held_out")
        num_iterations = best_iteration(*problem, num_iterations, *settings, random)
    image, trace = em.iterate(*problem, num_iterations, *settings)
    for name in ("log_likelihood", "objective"):
        trace[name] += model.log_scale
    for row in trace.itertuples():
        log.info(
            "iteration %d: log-likelihood %.3f, objective %.3f, %.6g Bq in the image",
            row.iteration,
            row.log_likelihood,
            row.objective,
            row.total_bq,
        )
    log.info("%.1f counts explained as scatter and randoms", model.background_counts)
    image = em.smoothed(image, grid, filter_fwhm_mm).astype(np.float32)
    return Volume(image, grid, "Bq/mm3"), trace


def estimate_error(
    events: Listmode,
    scanner: Scanner,
    efficiency: NDArray[np.float64],
    geometric: Volume,
    mu: Volume,
    duration_s: float,
    num_iterations: int,
    num_subsets: int,
    sensitivity_stride: int,
    psf: Kernel,
    filter_fwhm_mm: float,
    algorithm: str,
    prior_strength: float,
    num_resamples: int,
    seed: int,
    delayed: Listmode | None = None,
    tof: bool = False,
    backend: str = "numba",
) -> Volume:
    """Estimate the standard deviation of every voxel by bootstrap over events.

    Parameters as `reconstruct`; scatter and randoms are not estimated anew.

    Parameters
    ----------
    num_resamples : int
        Images made from resampled events, >= 2.

    Returns
    -------
    Volume of float32
        Bq/mm3.
    """
    grid = geometric.grid
    fixed = (scanner, efficiency, geometric, mu, duration_s, sensitivity_stride, psf)
    model = model_acquisition(events, *fixed, delayed, tof, backend)
    error = error_image(
        model.lines,
        grid,
        model.sensitivity_s,
        model.start,
        num_iterations,
        num_subsets,
        psf,
        algorithm,
        prior_strength,
        filter_fwhm_mm,
        num_resamples,
        rng.stream(seed, "reconstruct", "bootstrap"),
    )
    log.info("%d resamples; mean error %.4g Bq/mm3", num_resamples, error.mean())
    return Volume(error.astype(np.float32), grid, "Bq/mm3")


def _tail_fit(
    events: Listmode,
    scanner: Scanner,
    areas_mm2: NDArray[np.float64],
    mu: Volume,
    field: tail_fit.Cylinder,
) -> tuple[NDArray[np.float64], float]:
    """Scatter and randoms of every event's pair and of all pairs through the field, in counts."""
    cylinder = tail_fit.enclosing_cylinder(mu.array > 0, mu.grid)
    fitted = tail_fit.fit_background(events, scanner, areas_mm2, cylinder)
    distance_mm, middle_mm, _ = tail_fit.event_coordinates(events, scanner)
    ring1, ring2 = geometry.rings(events, scanner)
    areas = areas_mm2[geometry.column_steps(events, scanner), np.abs(ring1 - ring2)]
    counts = fitted.density(distance_mm, middle_mm) * areas
    return counts, tail_fit.total_counts(fitted, scanner, areas_mm2, field)


def _randoms(
    events: Listmode, delayed: Listmode, scanner: Scanner, field: tail_fit.Cylinder
) -> tuple[NDArray[np.float64], float]:
    """Randoms of every event's pair and of all pairs through the field, in counts."""
    checks.check_crystals(delayed, scanner)
    singles = randoms.fit_singles(delayed, scanner)
    total = _within(randoms.lor_counts(singles, scanner), scanner, field)
    return randoms.event_counts(singles, events), total


def _within(counts: NDArray[np.float64], scanner: Scanner, field: tail_fit.Cylinder) -> float:
    """Sum a table (step, ring, ring) over the LORs that meet the field."""
    return float(counts[tail_fit.touches(*tail_fit.lor_coordinates(scanner), field)].sum())
