"""Estimate scatter and randoms of every LOR from the prompts alone.

Coincidences on LORs that miss the object (the tail) can only be scattered or random. Per unit LOR
area (`geometry.lor_areas_mm2`) they vary slowly. The logarithm of their density is fitted as a
quadratic in the LOR's distance from the axis and in its axial position, and continued under the
object. Simplified: one density for all directions; scatter and randoms are not told apart.
Cf. the tail fits of Stearns (1995, J Nucl Med 36, 105P) and Watson (2000,
doi:10.1109/23.873020).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct.background.log_linear import fit_log_linear
from tubepet.reconstruct.scanner import geometry, lors
from tubepet.reconstruct.scanner.lors import Cylinder, Lors
from tubepet.types import Listmode, Scanner

# Two crystals: photons that scatter between neighbouring crystals shift true LORs by one or two.
MARGIN_MM = 8.0
# Width of the tail, from the margin outwards. Beyond it the log-quadratic does not hold: scatter
# ends (350 keV allow about 57 degrees) and only randoms are left.
REACH_MM = 40.0
# Three coefficients from fewer counts would be noise, larger than what they describe.
MIN_TAIL_COUNTS = 100
# Scatter and randoms are smooth: the fit misses their tails by 0.05 (root mean square, beyond
# noise), and tails that hold activity by 0.3 at least.
CELL_MM, MIN_CELL_COUNTS = 8.0, 5.0
MOST_PEAKED, MIN_SIGMAS = 0.2, 5.0
# Events that scatter far in the crystals are peaked as well. They are the whole tail of a source in
# air, where 1e-4 of the counts are not as fitted.
MOST_MISPLACED = 0.01


@dataclass(frozen=True)
class Background:
    """Fitted density, exp(b0 + b1 d^2 + b2 (z - z0)^2), of counts per mm2 of LOR area.

    Attributes
    ----------
    coefficients : float64 array, shape (3,)
        b0 (log of 1/mm2), b1, b2 (1/mm2), for distance d and axial middle z of a LOR.
        Empty: no background.
    z_mm : float
        z0.
    """

    coefficients: NDArray[np.float64]
    z_mm: float

    def density(self, where: Lors) -> NDArray[np.float64]:
        """Return counts per mm2 of LOR area; slopes do not count."""
        if len(self.coefficients) == 0:
            return np.zeros(np.broadcast(where.distance_mm, where.middle_mm).shape)
        return np.exp(_design(where.distance_mm, where.middle_mm - self.z_mm) @ self.coefficients)


def is_core(where: Lors, cylinder: Cylinder) -> NDArray[np.bool_]:
    """Which LORs come closer to a cylinder than the margin."""
    return cylinder.widened(MARGIN_MM).meets(where)


def is_tail(where: Lors, cylinder: Cylinder) -> NDArray[np.bool_]:
    """Which LORs are not core and still within reach."""
    outer = cylinder.widened(MARGIN_MM + REACH_MM)
    is_near = (
        (where.distance_mm <= outer.radius_mm)
        & (where.middle_mm <= outer.z_high_mm)
        & (where.middle_mm >= outer.z_low_mm)
    )
    return is_near & ~is_core(where, cylinder)


def total_counts(
    fitted: Background, scanner: Scanner, areas_mm2: NDArray[np.float64], cylinder: Cylinder
) -> float:
    """Sum of the background over all LORs that meet a cylinder, in counts."""
    every = lors.of_scanner(scanner)
    counts = lors.exposures_mm2(scanner, areas_mm2) * fitted.density(every)
    return float(counts[cylinder.meets(every)].sum())


def fit_background(
    events: Listmode, scanner: Scanner, areas_mm2: NDArray[np.float64], cylinder: Cylinder
) -> Background:
    """Fit the density of scatter and randoms to the tail of the prompts.

    Parameters
    ----------
    areas_mm2 : float64 array, shape (num_columns // 2 + 1, num_rings)
        `geometry.lor_areas_mm2`.
    cylinder : Cylinder
        Holds the object (and all activity).

    Returns
    -------
    Background
        Zero everywhere, with a warning, if the tail has fewer than `MIN_TAIL_COUNTS` counts.

    Raises
    ------
    InputError
        If the tail is peaked, so that activity must lie outside the cylinder.
    """
    z_mm = (cylinder.z_low_mm + cylinder.z_high_mm) / 2
    in_tail = is_tail(lors.of_scanner(scanner), cylinder)
    exposure_mm2 = np.where(in_tail, lors.exposures_mm2(scanner, areas_mm2), 0.0)
    step, (ring1, ring2) = geometry.column_steps(events, scanner), geometry.rings(events, scanner)
    counts = np.zeros(exposure_mm2.shape)
    np.add.at(counts, (step, ring1, ring2), 1.0)
    counts[~in_tail] = 0.0
    num_tail = int(counts.sum())
    if num_tail < MIN_TAIL_COUNTS:
        log.warning(
            "background: %d counts beside the object, fewer than %d: set to zero",
            num_tail, MIN_TAIL_COUNTS,
        )  # fmt: skip
        return Background(np.empty(0), z_mm)
    # pool LORs with equal distance and middle: the model ignores their slope
    ring = np.arange(scanner.num_rings)
    cell = (
        np.arange(len(exposure_mm2))[:, None, None] * (2 * scanner.num_rings) + ring[:, None] + ring
    )
    num_cells = len(exposure_mm2) * 2 * scanner.num_rings
    exposure = np.bincount(cell.ravel(), exposure_mm2.ravel(), num_cells)
    is_used = exposure > 0
    step, ring_sum = np.divmod(np.flatnonzero(is_used), 2 * scanner.num_rings)
    middle = (ring_sum - (scanner.num_rings - 1)) / 2 * scanner.axial_pitch_mm
    coefficients = fit_log_linear(
        _design(geometry.axis_distances_mm(scanner)[step], middle - z_mm),
        exposure[is_used].astype(np.float64),
        np.zeros(int(is_used.sum())),
        np.bincount(cell.ravel(), counts.ravel(), num_cells)[is_used].astype(np.float64),
    )
    log.info("background: fitted to %d counts beside the object", num_tail)
    fitted = Background(coefficients, z_mm)
    every = lors.of_scanner(scanner)
    expected = exposure_mm2 * fitted.density(every)
    _check_smooth(counts, expected, every, cylinder, len(events) - num_tail)
    return fitted


def _check_smooth(
    counts: NDArray[np.float64], expected: NDArray[np.float64], every: Lors, cylinder: Cylinder,
    num_others: int,
) -> None:  # fmt: skip
    """Refuse a tail that no smooth density explains, and say where its peak is."""
    distance, middle = (
        np.broadcast_to(np.rint(values_mm / CELL_MM).astype(np.int64), counts.shape).ravel()
        for values_mm in (every.distance_mm, every.middle_mm)
    )
    low, number = int(middle.min()), int(np.ptp(middle)) + 1
    cell = distance * number + middle - low
    found, fitted = (np.bincount(cell, values.ravel()) for values in (counts, expected))
    rows = np.flatnonzero(fitted > MIN_CELL_COUNTS)
    found, fitted = found[rows], fitted[rows]
    # squared misfit less its expectation under Poisson noise, and the noise of that
    excess, noise = ((found - fitted) ** 2 - found).sum(), (2 * fitted**2 + fitted).sum() ** 0.5
    scale = (fitted**2).sum()
    num_more = np.maximum(found - fitted, 0.0).sum()
    if excess <= max(MOST_PEAKED**2 * scale, MIN_SIGMAS * noise):
        return
    if num_more <= MOST_MISPLACED * num_others:
        return
    worst = int(np.argmax((found - fitted) / np.sqrt(fitted)))
    where = np.array([rows[worst] // number, rows[worst] % number + low]) * CELL_MM
    raise InputError(
        f"background: got {found[worst]:.0f} events where {fitted[worst]:.0f} are expected, on "
        f"lines {where[0]:.0f} mm from the axis around z = {where[1]:.0f} mm, beside the object "
        f"(radius {cylinder.radius_mm:.0f} mm, z {cylinder.z_low_mm:.0f} to "
        f"{cylinder.z_high_mm:.0f} mm): activity lies outside it; enlarge the image (--shape; "
        "reconstruct.num_slices, num_pixels) or shift the attenuation map"
    )


def _design(
    distance_mm: NDArray[np.float64], offset_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    d2, z2 = np.broadcast_arrays(distance_mm**2, offset_mm**2)
    return np.stack([np.ones(d2.shape), d2, z2], axis=-1)
