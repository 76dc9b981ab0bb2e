"""List-mode MLEM and OSEM with attenuation, efficiency, resolution and background in the model.

Expected counts of LOR i in the whole acquisition: y_i = T area_i att_i (P G x)_i + r_i with x the
activity (Bq/mm3), G a Gaussian (finite crystals; without it, pixels smaller than the distance of
neighbouring lines turn that distance into rings), P Joseph's line integrals, T the duration (s),
r scatter and randoms. With m_i = T area_i att_i one update is

    x <- x / (G s) * G sum_events P_i^T 1 / ((P G x)_i + r_i / m_i),    s = T sum_LORs area att P

(Shepp and Vardi 1982, doi:10.1109/TMI.1982.4307558; list mode: Barrett, White and Parra 1997,
doi:10.1364/JOSAA.14.002914; subsets: Hudson and Larkin 1994, doi:10.1109/42.363108; resolution in
image space: Reader et al. 2003, doi:10.1109/TNS.2003.817327). The log-likelihood is
sum_events log y_i - sum_v (G s)_v x_v - sum_LORs r_i, over all LORs that meet the cylinder around
the image.

Activity is taken as constant during the acquisition, as GATE simulates it.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct import background, geometry, kernels, projector, sensitivity
from tubepet.types import Grid, Listmode, Scanner, Volume

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Lines:
    """Measured LORs, one per event, as `em_sums` takes them.

    Attributes
    ----------
    points : float64 array, shape (m, 3)
        Possible end points (x, y, z), mm.
    first, second : int32 array, shape (n,)
        Rows of `points`.
    additive : float64 array, shape (n,)
        r_i / m_i, Bq/mm2.
    """

    points: NDArray[np.float64]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    additive: NDArray[np.float64]


def em_sums(
    image: NDArray[np.float64], grid: Grid, lines: Lines, subset: int, num_subsets: int
) -> NDArray[np.float64]:
    """Project, divide and backproject in one pass over events subset, subset + num_subsets, ...

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        sum P_i^T 1 / ((P x)_i + additive_i).
    """
    chunk_images = projector.empty_chunks(grid)
    kernels.em_sums(
        projector.padded(image).ravel(),
        lines.points,
        lines.first,
        lines.second,
        lines.additive,
        projector.grid_numbers(grid),
        subset,
        num_subsets,
        chunk_images,
    )
    return projector.joined(chunk_images, grid)


def smoothed(image: NDArray[np.floating], grid: Grid, fwhm_mm: float) -> NDArray[np.float64]:
    """Convolve with a Gaussian, mirrored at the borders.

    Mirroring makes the operator symmetric (its own adjoint) and keeps the total.
    """
    if fwhm_mm == 0:
        return np.asarray(image, dtype=np.float64)
    sigma = [fwhm_mm / FWHM_PER_SIGMA / size for size in grid.voxel_mm]
    return gaussian_filter(np.asarray(image, dtype=np.float64), sigma, mode="reflect")


def log_likelihood(
    image: NDArray[np.float64],
    blurred: NDArray[np.float64],
    grid: Grid,
    lines: Lines,
    blurred_sensitivity: NDArray[np.float64],
) -> float:
    """List-mode Poisson log-likelihood of an image, without the terms that no image changes."""
    sums = projector.forward(blurred, grid, lines.points, lines.first, lines.second)
    expected = float((blurred_sensitivity * image).sum())
    return float(np.log(sums + lines.additive).sum()) - expected


def iterate(
    lines: Lines,
    grid: Grid,
    sensitivity_s: NDArray[np.float64],
    start: NDArray[np.float64],
    num_iterations: int,
    num_subsets: int,
    psf_fwhm_mm: float,
) -> tuple[NDArray[np.float64], pd.DataFrame]:
    """Run MLEM (one subset) or OSEM.

    Parameters
    ----------
    lines : Lines
        Every line must be explained: its integral through `start` or its additive term is > 0.
    sensitivity_s : float64 array, shape (nz, ny, nx)
        s of the module's formula: expected counts per Bq/mm3 in the voxel, mm3 s.
    start : float64 array, shape (nz, ny, nx)
        First image, >= 0.
    psf_fwhm_mm : float
        Of G; 0: no G.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Bq/mm3; 0 where the sensitivity is 0.
    DataFrame
        iteration (0: first image), log_likelihood (as the function above), total_bq.
    """
    blurred_sensitivity = smoothed(sensitivity_s, grid, psf_fwhm_mm)
    is_seen = blurred_sensitivity > 0
    image = np.where(is_seen, start, 0.0)
    trace = []
    for iteration in tqdm(range(num_iterations + 1), desc="MLEM", disable=None, mininterval=1):
        blurred = smoothed(image, grid, psf_fwhm_mm)
        fit = log_likelihood(image, blurred, grid, lines, blurred_sensitivity)
        trace.append((iteration, fit, float(image.sum()) * grid.voxel_volume_mm3))
        if iteration == num_iterations:
            break
        for subset in range(num_subsets):
            if subset > 0:
                blurred = smoothed(image, grid, psf_fwhm_mm)
            ratio = em_sums(blurred, grid, lines, subset, num_subsets)
            update = smoothed(ratio, grid, psf_fwhm_mm) * num_subsets
            image *= np.divide(update, blurred_sensitivity, out=np.zeros(grid.shape), where=is_seen)
    return image, pd.DataFrame(trace, columns=["iteration", "log_likelihood", "total_bq"])


def check_input(events: Listmode, scanner: Scanner, mu: Volume) -> None:
    """Refuse crystals that the scanner lacks and attenuation that is negative or not finite."""
    for crystal in (events.crystal1, events.crystal2):
        is_foreign = (crystal < 0) | (crystal >= scanner.num_crystals)
        if is_foreign.any():
            raise InputError(
                f"coincidences: got crystal {crystal[is_foreign][0]}, expected "
                f"0..{scanner.num_crystals - 1} (section scanner)"
            )
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
    fitted = background.fit_background(
        events, scanner, areas_mm2, background.enclosing_cylinder(mu.array > 0, mu.grid)
    )
    field = background.enclosing_cylinder(np.ones(grid.shape, bool), grid)
    background_counts = background.total_counts(fitted, scanner, areas_mm2, field)

    coordinates = background.event_coordinates(events, scanner)
    density = fitted.density(coordinates[0], coordinates[1])
    ends = (points, events.crystal1, events.crystal2)
    length_mm = projector.forward(np.ones(grid.shape), grid, *ends)
    is_used = background.touches(*coordinates, field) & ((length_mm > 0) | (density > 0))
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
    lines = Lines(points, first, second, density[order] * areas / scale)

    seen = duration_s * sensitivity.attenuated_sensitivity(
        geometric.array, scanner, grid, efficiency, mu, sensitivity_stride
    )
    level = max(num_used - background_counts, 1.0) / seen.sum()
    image, trace = iterate(
        lines, grid, seen, np.full(grid.shape, level), num_iterations, num_subsets, psf_fwhm_mm
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
    image = smoothed(image, grid, filter_fwhm_mm).astype(np.float32)
    return Volume(image, grid, "Bq/mm3"), trace
