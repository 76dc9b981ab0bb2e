"""Absolute detection efficiency from a uniform cylinder of known activity in air.

The efficiency is the probability that a photon pair along a LOR through both crystal faces is
counted, in whichever crystals. It is the product of two functions.

The first depends on the distance from the axis. It is traced through the crystals
(`geometry.interaction_probabilities`): radial photons can slip through the wedges between columns,
others cannot. The counts of each LOR do not show it: scatter between crystals carries a quarter of
the events to neighbours and fills the dip on the axis.

The second depends on the ring difference, as oblique photons pass more crystal. It is smooth and
fitted to the counts, which sets the absolute scale. Randoms and events that scatter far in the
detector are subtracted as for a tube (`tail_fit`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct.background import randoms, tail_fit
from tubepet.reconstruct.background.log_linear import fit_log_linear
from tubepet.reconstruct.problem import Efficiency
from tubepet.reconstruct.scanner import crystals, geometry, lors, normalisation
from tubepet.reconstruct.scanner.lors import Cylinder, Lors
from tubepet.types import Listmode, Scanner

RING_ORDER = 3  # in (ring difference)^2; the chi-square of the residuals is logged
# The chord in the source is averaged over this many lines between two faces, across and along the
# axis. One line along it puts the ends of a source between rings (0.2 % off at 32 mm, 0.5 % at 24).
NUM_SUBLINES, NUM_AXIAL_SUBLINES = 9, 6
MIN_COUNTS = 1000  # 3 % statistical error of the absolute scale


@dataclass(frozen=True)
class Calibration:
    """Pair efficiency and what it was fitted to.

    Attributes
    ----------
    by_step : float64 array, shape (num_columns // 2 + 1,)
        Relative efficiency by column step, 1 on the axis.
    by_difference : float64 array, shape (num_rings,)
        Efficiency on the axis, by ring difference.
    counts, unit_counts : float64 array, shape (num_columns // 2 + 1, num_rings)
        Counts of the source without scatter and randoms, and those expected at an efficiency of 1.
    """

    by_step: NDArray[np.float64]
    by_difference: NDArray[np.float64]
    counts: NDArray[np.float64]
    unit_counts: NDArray[np.float64]


def efficiency_of(calibration: Mapping[str, Any], scanner: Scanner) -> Efficiency:
    """Return the efficiency in a ``calibration.json``.

    It is a table (`pair_efficiency`) for a ring of equal crystals, else `normalisation.calibrated`.
    """
    if scanner.is_even_ring:
        return pair_efficiency(calibration)
    return normalisation.calibrated(calibration, scanner)


def normalise(
    events: Listmode, delayed: Listmode, scanner: Scanner, cylinder: Cylinder, decays: float,
    name: str,
) -> normalisation.Normalisation:  # fmt: skip
    """Fit the efficiency of every crystal, with delayed pairs for the randoms."""
    singles = randoms.fit_crystals(delayed, crystals.of_scanner(scanner))
    return normalisation.fit(events, singles, scanner, cylinder, decays, name)


def pair_efficiency(calibration: Mapping[str, Any]) -> NDArray[np.float64]:
    """Efficiency table of a ``calibration.json``, shape (num_columns // 2 + 1, num_rings)."""
    return np.outer(calibration["by_step"], calibration["by_difference"])


def expected_counts(
    scanner: Scanner, cylinder: Cylinder, decays_per_mm3: float
) -> NDArray[np.float64]:
    """Compute the counts of a uniform source for an efficiency of 1.

    Returns
    -------
    float64 array, shape (num_columns // 2 + 1, num_rings)
        By column step and ring difference.
    """
    distance_mm, middle_mm, slope = lors.of_scanner(scanner)
    exposure_mm2 = lors.exposures_mm2(scanner, _unit_areas_mm2(scanner))
    spacing_mm = np.pi * geometry.detection_radius_mm(scanner) / scanner.num_columns
    across_mm = _offsets_mm(NUM_SUBLINES, spacing_mm)
    along_mm = _offsets_mm(NUM_AXIAL_SUBLINES, scanner.axial_pitch_mm)
    chords_mm = np.zeros(exposure_mm2.shape)
    near = np.flatnonzero(distance_mm.ravel() < cylinder.radius_mm + spacing_mm)
    chords_mm[near] = np.mean(
        [
            cylinder.chord_mm(Lors(distance_mm[near] + s, middle_mm + z, slope[near]))
            for s in across_mm
            for z in along_mm
        ],
        axis=0,
    )
    return _by_difference(decays_per_mm3 * exposure_mm2 * chords_mm)


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
    is_core = tail_fit.is_core(lors.of_events(events, scanner), cylinder)
    if is_core.sum() < MIN_COUNTS:
        raise InputError(
            f"{name}: got {is_core.sum()} coincidences from the source, expected at least "
            f"{MIN_COUNTS} (raise simulate.calibration_decays)"
        )
    volume_mm3 = np.pi * cylinder.radius_mm**2 * (cylinder.z_high_mm - cylinder.z_low_mm)
    unit_counts = expected_counts(scanner, cylinder, decays / volume_mm3)
    floor = _floor_counts(events, scanner, cylinder)
    counts = np.zeros(unit_counts.shape)
    ring1, ring2 = geometry.rings(events, scanner)
    cells = (geometry.column_steps(events, scanner), np.abs(ring1 - ring2))
    np.add.at(counts, tuple(index[is_core] for index in cells), 1.0)

    chance = geometry.interaction_probabilities(scanner)
    by_step = (chance / chance[-1]) ** 2
    # summed over distances: blur between lines leaves the sum as it is
    exposure, background, measured = (
        table.sum(axis=0) for table in (unit_counts * by_step[:, None], floor, counts)
    )
    square = (np.arange(scanner.num_rings) / scanner.num_rings) ** 2
    design = square[:, None] ** np.arange(RING_ORDER + 1)
    is_used = exposure > 0
    fit = fit_log_linear(design[is_used], exposure[is_used], background[is_used], measured[is_used])
    by_difference = np.exp(design @ fit)

    mean = exposure * by_difference + background
    residual = (measured - mean)[is_used] / np.sqrt(mean[is_used])
    log.info(
        "pair efficiency on the axis %.4f (same ring) to %.4f (ring difference %d), 13 mm from it "
        "%.3f times as much; chi-square per ring difference %.2f",
        by_difference[0],
        by_difference[-1],
        scanner.num_rings - 1,
        np.interp(-13.0, -geometry.axis_distances_mm(scanner), by_step),
        np.mean(residual**2),
    )
    log.info(
        "%d coincidences in, %d from the source, of which %.0f scatter and randoms",
        len(events),
        is_core.sum(),
        floor.sum(),
    )
    return Calibration(by_step, by_difference, counts - floor, unit_counts)


def _offsets_mm(num: int, width_mm: float) -> NDArray[np.float64]:
    """Middles of equal parts of a width around 0."""
    return ((np.arange(num) + 0.5) / num - 0.5) * width_mm


def _unit_areas_mm2(scanner: Scanner) -> NDArray[np.float64]:
    ones = np.ones((scanner.num_columns // 2 + 1, scanner.num_rings))
    return geometry.lor_areas_mm2(scanner, ones)


def _floor_counts(events: Listmode, scanner: Scanner, cylinder: Cylinder) -> NDArray[np.float64]:
    """Scatter and randoms on the LORs of the source, by column step and ring difference."""
    areas_mm2 = _unit_areas_mm2(scanner)
    fitted = tail_fit.fit_background(events, scanner, areas_mm2, cylinder)
    every = lors.of_scanner(scanner)
    counts = lors.exposures_mm2(scanner, areas_mm2) * fitted.density(every)
    return _by_difference(np.where(tail_fit.is_core(every, cylinder), counts, 0.0))


def _by_difference(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up (steps, ring, ring) over equal ring differences: (steps, difference)."""
    num_steps, num_rings, _ = table.shape
    ring = np.arange(num_rings)
    cell = np.arange(num_steps)[:, None, None] * num_rings + np.abs(ring[:, None] - ring)
    sums = np.bincount(cell.ravel(), table.ravel(), num_steps * num_rings)
    return sums.reshape(num_steps, num_rings).astype(np.float64)
