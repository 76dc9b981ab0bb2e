"""From coincidences to an image in Bq/mm3: the model of every LOR, then `algorithms`."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct import (
    algorithms,
    background,
    geometry,
    projector,
    randoms,
    scatter,
    sensitivity,
)
from tubepet.reconstruct.lines import Lines
from tubepet.types import Listmode, Scanner, Volume

# Of the modelled background: images made only to simulate scatter from them. Scatter is smooth and
# follows the total, which few iterations settle.
SCATTER_ROUNDS = 2
SCATTER_ITERATIONS = 4


def check_crystals(events: Listmode, scanner: Scanner) -> None:
    """Refuse crystals that the scanner lacks."""
    for crystal in (events.crystal1, events.crystal2):
        is_foreign = (crystal < 0) | (crystal >= scanner.num_crystals)
        if is_foreign.any():
            raise InputError(
                f"coincidences: got crystal {crystal[is_foreign][0]}, expected "
                f"0..{scanner.num_crystals - 1} (section scanner)"
            )


def check_input(events: Listmode, scanner: Scanner, mu: Volume) -> None:
    """Refuse crystals that the scanner lacks and attenuation that is negative or not finite."""
    check_crystals(events, scanner)
    if not (np.isfinite(mu.array).all() and (mu.array >= 0).all()):
        raise InputError("attenuation map: got negative or non-finite values, expected >= 0 1/mm")


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
    psf_fwhm_mm: float,
    filter_fwhm_mm: float,
    delayed: Listmode | None = None,
) -> tuple[Volume, pd.DataFrame]:
    """Reconstruct one acquisition in Bq/mm3.

    Parameters
    ----------
    events : Listmode
        Prompts; their truth codes and times are not used.
    efficiency : float64 array, shape (num_columns // 2 + 1, num_rings)
        Pair efficiency by column step and ring difference (`calibrate`).
    geometric : Volume
        `sensitivity.geometric_sensitivity` on the grid of the image to make, mm3.
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    duration_s : float
    num_iterations, num_subsets, sensitivity_stride, psf_fwhm_mm, filter_fwhm_mm
        As in the config section `reconstruct`.
    delayed : Listmode, optional
        Pairs of the delayed window: randoms are estimated from them and scatter is simulated.
        Without, both are one smooth density fitted beside the object (`background`).

    Returns
    -------
    Volume of float32
        Activity, Bq/mm3. All zero (with a warning) if no LOR crosses the image.
    DataFrame
        iteration, log_likelihood, total_bq (before the last filter), one row per iteration.

    Raises
    ------
    InputError
        If events or attenuation cannot belong to this scanner or any object.
    """
    check_input(events, scanner, mu)
    grid, points = geometric.grid, geometry.crystal_points_mm(scanner)
    areas_mm2 = geometry.lor_areas_mm2(scanner, efficiency)
    field = background.enclosing_cylinder(np.ones(grid.shape, bool), grid)
    coordinates = background.event_coordinates(events, scanner)
    if delayed is None:
        additive, background_counts = _tail_fit(events, scanner, areas_mm2, mu, field)
    else:
        additive, background_counts = _randoms(events, delayed, scanner, field)
    ends = (points, events.crystal1, events.crystal2)
    length_mm = projector.forward(np.ones(grid.shape), grid, *ends)
    is_used = background.touches(*coordinates, field) & ((length_mm > 0) | (additive > 0))
    num_used = int(is_used.sum())
    log.info("%d coincidences in, %d through the image", len(events), num_used)
    if num_used == 0:
        log.warning("no coincidence crosses the image: the image is zero everywhere")
        nothing = pd.DataFrame({"iteration": [0], "log_likelihood": [0.0], "total_bq": [0.0]})
        return Volume(np.zeros(grid.shape, np.float32), grid, "Bq/mm3"), nothing

    # neighbours in this order touch the same voxels
    order = np.flatnonzero(is_used)
    columns = (events.crystal2 % scanner.num_columns, events.crystal1 % scanner.num_columns)
    order = order[np.lexsort([column[order] for column in columns])]
    first, second = events.crystal1[order], events.crystal2[order]
    attenuation = np.exp(-projector.forward(mu.array, mu.grid, points, first, second))
    ring1, ring2 = geometry.rings(events, scanner)
    areas = areas_mm2[geometry.column_steps(events, scanner), np.abs(ring1 - ring2)][order]
    scale = duration_s * areas * attenuation  # m_i of the module's formula, mm2 s
    lines = Lines(points, first, second, additive[order] / scale)

    seen = duration_s * sensitivity.attenuated_sensitivity(
        geometric.array, scanner, grid, efficiency, mu, sensitivity_stride
    )

    def level(background_counts: float) -> NDArray[np.float64]:
        return np.full(grid.shape, max(num_used - background_counts, 1.0) / seen.sum())

    if delayed is not None:
        used = Listmode(first, second, events.time_difference_ns[order], events.truth[order])
        random_counts = background_counts
        for _ in range(SCATTER_ROUNDS):
            image, _ = algorithms.iterate(
                lines, grid, seen, level(background_counts), SCATTER_ITERATIONS, 1, psf_fwhm_mm
            )
            rate = scatter.simulate(image, grid, mu, scanner, efficiency)
            scattered = duration_s * scatter.event_counts(rate, used, scanner)
            lines = Lines(points, first, second, (additive[order] + scattered) / scale)
            scatter_counts = duration_s * _within(scatter.lor_counts(rate, scanner), scanner, field)
            background_counts = random_counts + scatter_counts
        log.info("%.1f randoms and %.1f scattered", random_counts, scatter_counts)
    image, trace = algorithms.iterate(
        lines, grid, seen, level(background_counts), num_iterations, num_subsets, psf_fwhm_mm
    )
    trace["log_likelihood"] += float(np.log(scale).sum()) - background_counts
    for row in trace.itertuples():
        log.info(
            "iteration %d: log-likelihood %.3f, %.6g Bq in the image",
            row.iteration,
            row.log_likelihood,
            row.total_bq,
        )
    log.info("%.1f counts explained as scatter and randoms", background_counts)
    image = algorithms.smoothed(image, grid, filter_fwhm_mm).astype(np.float32)
    return Volume(image, grid, "Bq/mm3"), trace


def _tail_fit(
    events: Listmode,
    scanner: Scanner,
    areas_mm2: NDArray[np.float64],
    mu: Volume,
    field: background.Cylinder,
) -> tuple[NDArray[np.float64], float]:
    """Scatter and randoms of every event's pair and of all pairs through the field, in counts."""
    cylinder = background.enclosing_cylinder(mu.array > 0, mu.grid)
    fitted = background.fit_background(events, scanner, areas_mm2, cylinder)
    distance_mm, middle_mm, _ = background.event_coordinates(events, scanner)
    ring1, ring2 = geometry.rings(events, scanner)
    areas = areas_mm2[geometry.column_steps(events, scanner), np.abs(ring1 - ring2)]
    counts = fitted.density(distance_mm, middle_mm) * areas
    return counts, background.total_counts(fitted, scanner, areas_mm2, field)


def _randoms(
    events: Listmode, delayed: Listmode, scanner: Scanner, field: background.Cylinder
) -> tuple[NDArray[np.float64], float]:
    """Randoms of every event's pair and of all pairs through the field, in counts."""
    check_crystals(delayed, scanner)
    singles = randoms.fit_singles(delayed, scanner)
    total = _within(randoms.lor_counts(singles, scanner), scanner, field)
    return randoms.event_counts(singles, events), total


def _within(counts: NDArray[np.float64], scanner: Scanner, field: background.Cylinder) -> float:
    """Sum a table (step, ring, ring) over the LORs that meet the field."""
    return float(counts[background.touches(*background.lor_coordinates(scanner), field)].sum())
