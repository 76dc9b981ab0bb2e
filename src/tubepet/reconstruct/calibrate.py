"""Absolute detection efficiency from a uniform cylinder of known activity in air.

The efficiency is the probability that a photon pair through both crystal faces of a LOR is counted
there. It depends on the angle (longer paths through the crystals), for objects near the axis
on the ring difference alone: a smooth low-order fit. Scatter within the detector and randoms are
taken off as in a tube (`background`), so what a tube counts, and how, is what is calibrated.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct import background, geometry
from tubepet.reconstruct.background import Cylinder
from tubepet.reconstruct.poisson import fit_log_linear
from tubepet.types import Listmode, Scanner

ORDER = 3  # in (ring difference)^2; the chi-square of the residuals is logged
# A line per crystal pair stands for all lines between its faces; across this many of them the
# source's chord is averaged.
NUM_SUBLINES = 9
MIN_COUNTS = 1000  # 3 % statistical error of the absolute scale


@dataclass(frozen=True)
class Calibration:
    """Pair efficiency and what it was fitted to; arrays by ring difference, shape (num_rings,).

    Attributes
    ----------
    efficiency : float64 array
        Probability that a pair through both crystal faces is counted.
    counts : float64 array
        Counts of the source, scatter and randoms taken off.
    unit_counts : float64 array
        Expected counts for an efficiency of 1.
    """

    efficiency: NDArray[np.float64]
    counts: NDArray[np.float64]
    unit_counts: NDArray[np.float64]


def chord_mm(
    distance_mm: NDArray[np.float64],
    middle_mm: NDArray[np.float64],
    slope: NDArray[np.float64],
    cylinder: Cylinder,
) -> NDArray[np.float64]:
    """Length of LORs inside a cylinder around the scanner axis.

    Parameters
    ----------
    distance_mm, middle_mm, slope : float64 arrays
        As `background.lor_coordinates`; broadcast together.
    """
    half_mm = np.sqrt(np.maximum(cylinder.radius_mm**2 - distance_mm**2, 0.0))
    rise = np.maximum(slope, 1e-12)  # lines within a ring: the ends are then far away
    enter_mm = np.maximum(-half_mm, (cylinder.z_low_mm - middle_mm) / rise)
    leave_mm = np.minimum(half_mm, (cylinder.z_high_mm - middle_mm) / rise)
    return np.maximum(leave_mm - enter_mm, 0.0) * np.sqrt(1 + slope**2)


def expected_counts(
    scanner: Scanner, cylinder: Cylinder, decays_per_mm3: float
) -> NDArray[np.float64]:
    """Counts of a uniform source for an efficiency of 1, by ring difference, shape (num_rings,)."""
    distance_mm, middle_mm, slope = background.lor_coordinates(scanner)
    areas_mm2 = geometry.lor_areas_mm2(scanner, np.ones(scanner.num_rings))
    exposure_mm2 = background.lor_exposures_mm2(scanner, areas_mm2)
    spacing_mm = np.pi * geometry.detection_radius_mm(scanner) / scanner.num_columns
    offsets_mm = ((np.arange(NUM_SUBLINES) + 0.5) / NUM_SUBLINES - 0.5) * spacing_mm
    chord = np.mean([chord_mm(distance_mm + o, middle_mm, slope, cylinder) for o in offsets_mm], axis=0)
    ring = np.arange(scanner.num_rings)
    difference = np.broadcast_to(np.abs(ring[:, None] - ring), chord.shape)
    counts = decays_per_mm3 * exposure_mm2 * chord
    return np.bincount(difference.ravel(), counts.ravel(), scanner.num_rings)


def fit_efficiency(
    events: Listmode, scanner: Scanner, cylinder: Cylinder, decays: float, name: str
) -> Calibration:
    """Fit the pair efficiency to the coincidences of a uniform cylinder in air.

    Parameters
    ----------
    cylinder : Cylinder
        The source.
    decays : float
        Decays in the whole source during the acquisition.
    name : str
        The file of the coincidences, for an error.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        If there are too few coincidences.
    """
    if len(events) < MIN_COUNTS:
        raise InputError(
            f"{name}: got {len(events)} coincidences, expected at least {MIN_COUNTS} "
            "(raise simulate.calibration_decays)"
        )
    height_mm = cylinder.z_high_mm - cylinder.z_low_mm
    volume_mm3 = np.pi * cylinder.radius_mm**2 * height_mm
    expected = expected_counts(scanner, cylinder, decays / volume_mm3)
    areas_mm2 = geometry.lor_areas_mm2(scanner, np.ones(scanner.num_rings))
    floor = background.fit_background(events, scanner, areas_mm2, cylinder)

    in_core = background.is_core(*background.lor_coordinates(scanner), cylinder)
    distance_mm, middle_mm, _ = background.lor_coordinates(scanner)
    floor_counts = (
        background.lor_exposures_mm2(scanner, areas_mm2)
        * floor.density(distance_mm, middle_mm)
        * in_core
    )
    ring1, ring2 = geometry.rings(events, scanner)
    is_counted = background.is_core(*background.event_coordinates(events, scanner), cylinder)
    difference = np.arange(scanner.num_rings)
    counts = np.bincount(np.abs(ring1 - ring2)[is_counted], minlength=scanner.num_rings)
    floor_by_difference = np.bincount(
        np.abs(difference[:, None] - difference).ravel(), floor_counts.sum(axis=0).ravel()
    )
    design = np.power.outer((difference / scanner.num_rings) ** 2, np.arange(ORDER + 1))
    coefficients = fit_log_linear(design, expected, floor_by_difference, counts.astype(float))
    efficiency = np.exp(design @ coefficients)
    mean = expected * efficiency + floor_by_difference
    used = mean > 5  # where chi-square is meaningful
    log.info(
        "efficiency %.4f (same ring) to %.4f (ring difference %d); %d counts, of which %.0f scatter "
        "and randoms; chi-square per ring difference %.2f",
        efficiency[0],
        efficiency[-1],
        scanner.num_rings - 1,
        counts.sum(),
        floor_by_difference.sum(),
        np.mean((counts - mean)[used] ** 2 / mean[used]),
    )
    return Calibration(efficiency, counts - floor_by_difference, expected)
