"""Scatter and randoms as an additive term of every LOR, estimated from the prompts alone.

Coincidences on LORs that miss the object can only be scattered or random. Per unit LOR area
(`geometry.lor_areas_mm2`) they vary slowly, so the logarithm of their density is fitted as a
quadratic in the LOR's distance from the axis and in its axial position, and continued under the
object. Simplified: one density for all directions; scatter and randoms are not told apart.
Cf. the tail fits of Stearns (1995, J Nucl Med 36, 105P) and Watson (2000,
doi:10.1109/23.873020).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet.logs import log
from tubepet.reconstruct.background.log_linear import fit_log_linear
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid, Listmode, Scanner

# Two crystals: photons that scatter between neighbouring crystals shift true LORs by one or two.
MARGIN_MM = 8.0
# The tail used, from the margin outwards: beyond it the log-quadratic no longer holds, as scatter
# ends (350 keV allow about 57 degrees) and only randoms are left.
REACH_MM = 40.0
# Three coefficients from fewer counts would be noise, larger than what they describe.
MIN_TAIL_COUNTS = 100


@dataclass(frozen=True)
class Cylinder:
    """What surely holds the object: a cylinder around the scanner axis, mm."""

    radius_mm: float
    z_low_mm: float
    z_high_mm: float

    def widened(self, by_mm: float) -> "Cylinder":
        """Return the cylinder with this much more on all sides."""
        return Cylinder(self.radius_mm + by_mm, self.z_low_mm - by_mm, self.z_high_mm + by_mm)


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

    def density(
        self, distance_mm: NDArray[np.float64], middle_mm: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return counts per mm2 of LOR area, at a distance from the axis and an axial middle."""
        if len(self.coefficients) == 0:
            return np.zeros(np.broadcast(distance_mm, middle_mm).shape)
        return np.exp(_design(distance_mm, middle_mm - self.z_mm) @ self.coefficients)


def enclosing_cylinder(is_object: NDArray[np.bool_], grid: Grid) -> Cylinder:
    """Return the smallest cylinder around the axis that holds all marked voxels."""
    z, y, x = grid.axes_mm()
    if not is_object.any():
        return Cylinder(0.0, 0.0, 0.0)
    z_used = z[is_object.any(axis=(1, 2))]
    half_z, half_y, half_x = (size / 2 for size in grid.voxel_mm)
    corner_mm = np.hypot(np.abs(y)[:, None] + half_y, np.abs(x)[None, :] + half_x)
    return Cylinder(
        float(corner_mm[is_object.any(axis=0)].max()),
        float(z_used[0] - half_z),
        float(z_used[-1] + half_z),
    )


def touches(
    distance_mm: NDArray[np.float64],
    middle_mm: NDArray[np.float64],
    slope: NDArray[np.float64],
    cylinder: Cylinder,
) -> NDArray[np.bool_]:
    """Which LORs meet a cylinder.

    Parameters
    ----------
    distance_mm, middle_mm, slope : float64 arrays
        Distance from the axis, z half-way, |dz| per mm of transaxial path; broadcast together.
    """
    half_mm = np.sqrt(np.maximum(cylinder.radius_mm**2 - distance_mm**2, 0.0))
    return (
        (distance_mm <= cylinder.radius_mm)
        & (middle_mm - slope * half_mm <= cylinder.z_high_mm)
        & (middle_mm + slope * half_mm >= cylinder.z_low_mm)
    )


def is_core(
    distance_mm: NDArray[np.float64],
    middle_mm: NDArray[np.float64],
    slope: NDArray[np.float64],
    cylinder: Cylinder,
) -> NDArray[np.bool_]:
    """Which LORs come closer to a cylinder than the margin; parameters as `touches`."""
    return touches(distance_mm, middle_mm, slope, cylinder.widened(MARGIN_MM))


def is_tail(
    distance_mm: NDArray[np.float64],
    middle_mm: NDArray[np.float64],
    slope: NDArray[np.float64],
    cylinder: Cylinder,
) -> NDArray[np.bool_]:
    """Which LORs are not core and still within reach; parameters as `touches`."""
    outer = cylinder.widened(MARGIN_MM + REACH_MM)
    is_near = (
        (distance_mm <= outer.radius_mm)
        & (middle_mm <= outer.z_high_mm)
        & (middle_mm >= outer.z_low_mm)
    )
    return is_near & ~is_core(distance_mm, middle_mm, slope, cylinder)


def event_coordinates(
    events: Listmode, scanner: Scanner
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Distance from the axis, axial middle (mm) and slope of the LOR of every event."""
    step = geometry.column_steps(events, scanner)
    ring1, ring2 = geometry.rings(events, scanner)
    return _coordinates(scanner, step, ring1, ring2)


def lor_coordinates(
    scanner: Scanner,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the same for all LORs, shape (num_columns // 2 + 1, num_rings, num_rings)."""
    step, ring1, ring2 = np.ogrid[
        : scanner.num_columns // 2 + 1, : scanner.num_rings, : scanner.num_rings
    ]
    return _coordinates(scanner, step, ring1, ring2)


def lor_exposures_mm2(scanner: Scanner, areas_mm2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the total area of all LORs of a kind, shape (num_columns // 2 + 1, rings, rings)."""
    ring = np.arange(scanner.num_rings)
    number = geometry.num_column_pairs(scanner)[:, None, None]
    return number * areas_mm2[:, np.abs(ring[:, None] - ring)]


def total_counts(
    fitted: Background, scanner: Scanner, areas_mm2: NDArray[np.float64], cylinder: Cylinder
) -> float:
    """Sum of the background over all LORs that meet a cylinder, in counts."""
    distance_mm, middle_mm, slope = lor_coordinates(scanner)
    counts = lor_exposures_mm2(scanner, areas_mm2) * fitted.density(distance_mm, middle_mm)
    return float(counts[touches(distance_mm, middle_mm, slope, cylinder)].sum())


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
        None at all (with a line in the log) if the tail has fewer than `MIN_TAIL_COUNTS` counts.
    """
    z_mm = (cylinder.z_low_mm + cylinder.z_high_mm) / 2
    distance_mm, middle_mm, slope = lor_coordinates(scanner)
    in_tail = is_tail(distance_mm, middle_mm, slope, cylinder)
    exposure_mm2 = np.where(in_tail, lor_exposures_mm2(scanner, areas_mm2), 0.0)
    step, (ring1, ring2) = geometry.column_steps(events, scanner), geometry.rings(events, scanner)
    counts = np.zeros(exposure_mm2.shape)
    np.add.at(counts, (step, ring1, ring2), 1.0)
    counts[~in_tail] = 0.0
    num_tail = int(counts.sum())
    if num_tail < MIN_TAIL_COUNTS:
        log.warning(
            "background: %d counts beside the object, fewer than %d: set to zero",
            num_tail,
            MIN_TAIL_COUNTS,
        )
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
    return Background(coefficients, z_mm)


def _coordinates(
    scanner: Scanner,
    step: NDArray[np.integer],
    ring1: NDArray[np.integer],
    ring2: NDArray[np.integer],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    z_mm = geometry.ring_positions_mm(scanner)
    chord_mm = (
        2 * geometry.detection_radius_mm(scanner) * np.sin(np.pi * step / scanner.num_columns)
    )
    # step 0 is no LOR (its area is 0); any finite slope will do
    slope = np.abs(z_mm[ring2] - z_mm[ring1]) / np.where(step > 0, chord_mm, 1.0)
    middle_mm = (z_mm[ring1] + z_mm[ring2]) / 2
    return geometry.axis_distances_mm(scanner)[step], middle_mm, slope


def _design(
    distance_mm: NDArray[np.float64], offset_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    d2, z2 = np.broadcast_arrays(distance_mm**2, offset_mm**2)
    return np.stack([np.ones(d2.shape), d2, z2], axis=-1)
