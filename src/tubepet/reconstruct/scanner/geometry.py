"""Geometry of a ring scanner: ends of lines of response, their étendue, and which ones exist.

The scanner is a cylinder of identical crystals. Up to symmetry, three numbers describe a line of
response (LOR): the column step k (the shorter way round between its two columns,
1..num_columns // 2) and its two rings. Simplified: photons are detected at one mean depth, on a
closed surface. The calibrated efficiency makes up for gaps and penetration.
"""

import numpy as np
from numpy.typing import NDArray

from tubepet.types import Listmode, Scanner

# Lu1.8 Y0.2 SiO5 at 7.1 g/cm3 and 511 keV, total cross section with coherent scattering, from
# xraylib 4 (Schoonjans et al. 2011, doi:10.1016/j.sab.2011.09.011).
LYSO_ATTENUATION_PER_MM = 0.0818
# The part that leaves energy in a crystal: photoelectric (xraylib 4) and Compton (Geant4's fit).
LYSO_DEPOSITING_PER_MM = 0.0254 + 0.0525
# For `interaction_probabilities`: lines per distance, turns of the ring, points per line
NUM_SUBLINES, NUM_TURNS, NUM_STEPS = 8, 24, 120


def mean_interaction_depth_mm(crystal_depth_mm: float) -> float:
    """Mean depth of the first interaction of a photon that enters head-on and interacts.

    With mu the attenuation of LYSO and D the crystal depth, the mean of the truncated exponential
    is 1/mu - D exp(-mu D) / (1 - exp(-mu D)): 7.4 mm for 20 mm.
    """
    mu, depth = LYSO_ATTENUATION_PER_MM, crystal_depth_mm
    return float(1 / mu + depth * np.exp(-mu * depth) / np.expm1(-mu * depth))


def detection_radius_mm(scanner: Scanner) -> float:
    """Distance of all LOR end points from the axis, in mm."""
    return scanner.inner_radius_mm + mean_interaction_depth_mm(scanner.crystal_depth_mm)


def ring_positions_mm(scanner: Scanner) -> NDArray[np.float64]:
    """Return z of the ring centres, shape (num_rings,)."""
    ring = np.arange(scanner.num_rings, dtype=np.float64)
    return (ring - (scanner.num_rings - 1) / 2) * scanner.axial_pitch_mm


def crystal_points_mm(scanner: Scanner) -> NDArray[np.float64]:
    """LOR end point (x, y, z) of every crystal.

    Returns
    -------
    float64 array, shape (num_crystals, 3)
        mm, row = crystal id (`tubepet.types`).
    """
    angle = 2 * np.pi * np.arange(scanner.num_columns) / scanner.num_columns
    radius_mm = detection_radius_mm(scanner)
    points = np.empty((scanner.num_rings, scanner.num_columns, 3))
    points[..., 0] = radius_mm * np.cos(angle)
    points[..., 1] = radius_mm * np.sin(angle)
    points[..., 2] = ring_positions_mm(scanner)[:, None]
    return points.reshape(-1, 3)


def column_steps(events: Listmode, scanner: Scanner) -> NDArray[np.int64]:
    """Column step k of every event, 0..num_columns // 2."""
    return steps_between(events.crystal1, events.crystal2, scanner)


def steps_between(
    first: NDArray[np.integer], second: NDArray[np.integer], scanner: Scanner
) -> NDArray[np.int64]:
    """Column step of pairs of crystals of a ring, 0..num_columns // 2."""
    step = np.abs(first.astype(np.int64) - second) % scanner.num_columns
    return np.minimum(step, scanner.num_columns - step)


def rings(events: Listmode, scanner: Scanner) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return both rings of every event."""
    return (
        events.crystal1.astype(np.int64) // scanner.num_columns,
        events.crystal2.astype(np.int64) // scanner.num_columns,
    )


def is_allowed_step(scanner: Scanner) -> NDArray[np.bool_]:
    """Which column steps can be in coincidence, shape (num_columns // 2 + 1,).

    GATE's CoincidenceSorterActor keeps a pair if the distance of its single positions in the
    xy plane is >= `min_transaxial_distance`; the readout moved these positions to the crystals'
    centres of volume, so the test is between centres (opengate 10.1, function CoincidenceIsGood).
    """
    centre_radius_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    step = np.arange(scanner.num_columns // 2 + 1)
    distance_mm = 2 * centre_radius_mm * np.sin(np.pi * step / scanner.num_columns)
    return (step > 0) & (distance_mm >= scanner.min_transaxial_distance_mm)


def interaction_probabilities(scanner: Scanner) -> NDArray[np.float64]:
    """Probability that a photon leaves energy in the crystals, by column step of its line.

    Crystals are boxes with wedges of air between the columns. A radial photon can slip through a
    wedge; others cross it and meet the next crystal. Lengths in crystals are traced in the cross
    section, for lines from all sides and between the faces' edges. The mean obliquity of the lines
    makes them longer. The calibration makes up for gaps between rings.

    Returns
    -------
    float64 array, shape (num_columns // 2 + 1,)
        0 to 1. Both ends of a line meet wedges independently, so a pair has the square.
    """
    sector, inner_mm = 2 * np.pi / scanner.num_columns, scanner.inner_radius_mm
    outer_mm = inner_mm + scanner.crystal_depth_mm
    spacing_mm = detection_radius_mm(scanner) * sector / 2
    across_mm = (np.arange(NUM_SUBLINES) + 0.5) / NUM_SUBLINES - 0.5
    distance_mm = axis_distances_mm(scanner)[:, None, None, None]
    distance_mm = distance_mm + across_mm[:, None, None] * spacing_mm
    turn = sector * (np.arange(NUM_TURNS) + 0.5)[:, None] / NUM_TURNS
    start_mm, stop_mm = (
        np.sqrt(np.maximum(r**2 - distance_mm**2, 0.0))
        for r in (inner_mm, np.hypot(outer_mm, scanner.crystal_width_mm / 2))
    )
    share = (np.arange(NUM_STEPS) + 0.5) / NUM_STEPS
    along_mm = start_mm + share * (stop_mm - start_mm)
    angle = np.arctan2(distance_mm, along_mm) + turn
    radius_mm, angle = np.hypot(distance_mm, along_mm), (angle + sector / 2) % sector - sector / 2
    depth_mm, side_mm = radius_mm * np.cos(angle), radius_mm * np.sin(angle)
    is_crystal = np.abs(side_mm) < scanner.crystal_width_mm / 2
    is_crystal &= (depth_mm > inner_mm) & (depth_mm < outer_mm)
    length_mm = is_crystal.mean(axis=-1) * (stop_mm - start_mm)[..., 0] * _mean_obliquity(scanner)
    return np.asarray(-np.expm1(-LYSO_DEPOSITING_PER_MM * length_mm).mean(axis=(1, 2)))


def _mean_obliquity(scanner: Scanner) -> float:
    """Length over transaxial length of lines through the axis, mean over ring pairs."""
    difference = np.arange(scanner.num_rings)
    rise = difference * scanner.axial_pitch_mm / (2 * detection_radius_mm(scanner))
    number = scanner.num_rings - difference
    return float(np.average(np.sqrt(1 + rise**2), weights=number))


def num_column_pairs(scanner: Scanner) -> NDArray[np.float64]:
    """Return the number of unordered column pairs with each step k, shape (num_columns // 2 + 1,).

    Diametral pairs (2 k = num_columns) are half as many; step 0 has none.
    """
    number = np.full(scanner.num_columns // 2 + 1, float(scanner.num_columns))
    number[0] = 0
    if scanner.num_columns % 2 == 0:
        number[-1] /= 2
    return number


def axis_distances_mm(scanner: Scanner) -> NDArray[np.float64]:
    """Distance of LORs from the scanner axis by column step, shape (num_columns // 2 + 1,)."""
    step = np.arange(scanner.num_columns // 2 + 1)
    return detection_radius_mm(scanner) * np.cos(np.pi * step / scanner.num_columns)


def slopes_of(
    points_mm: NDArray[np.float64], first: NDArray[np.integer], second: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the slope of the lines between points, (n,): z over the distance across the axis."""
    x, y, z = (points_mm[second] - points_mm[first]).T
    across = np.hypot(x, y)
    return np.divide(np.abs(z), across, out=np.full(len(z), np.inf), where=across > 0)


def lor_slopes(scanner: Scanner) -> NDArray[np.float64]:
    """Return the slope of every LOR of a ring, as `slopes_of`.

    Returns
    -------
    float64 array, shape (num_columns // 2 + 1, num_rings)
        By column step and absolute ring difference.
    """
    transaxial_mm, axial_mm = _ways_mm(scanner)
    shape = np.broadcast_shapes(transaxial_mm.shape, axial_mm.shape)
    return np.divide(axial_mm, transaxial_mm, out=np.full(shape, np.inf), where=transaxial_mm > 0)


def _ways_mm(scanner: Scanner) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the distances of the ends of a LOR, across the axis by step, along it by ring."""
    step = np.arange(scanner.num_columns // 2 + 1)[:, None]
    transaxial_mm = 2 * detection_radius_mm(scanner) * np.sin(np.pi * step / scanner.num_columns)
    axial_mm = np.arange(scanner.num_rings, dtype=np.float64) * scanner.axial_pitch_mm
    return transaxial_mm, axial_mm


def lor_areas_mm2(scanner: Scanner, efficiency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the expected counts of a LOR per unit line integral of activity and per second.

    The lines between two detector faces of area A fill an étendue G = A^2 cos_i cos_j / d^2
    (d: distance, cos: angle of incidence on the radial face normals). A decay sends its pair of
    photons along a line whose direction is uniform over a half sphere, so activity f (Bq/mm3) gives
    efficiency * G / (2 pi) * (line integral of f) counts per second. On a cylinder both cosines are
    (d_t / d) sin(pi k / num_columns), with d_t the distance in the xy plane.

    Parameters
    ----------
    efficiency : float64 array, shape (num_columns // 2 + 1, num_rings)
        Probability that a pair through both faces is counted, by column step and ring difference.

    Returns
    -------
    float64 array, shape (num_columns // 2 + 1, num_rings)
        mm2, by column step and absolute ring difference; 0 for pairs that are not allowed.
    """
    step = np.arange(scanner.num_columns // 2 + 1)[:, None]
    half_angle = np.pi * step / scanner.num_columns
    transaxial_mm, axial_mm = _ways_mm(scanner)
    distance2_mm2 = transaxial_mm**2 + axial_mm**2
    distance2_mm2[0, 0] = 1.0  # a crystal with itself: any value, its area is 0
    face_mm2 = scanner.crystal_width_mm * scanner.crystal_height_mm
    cosines = transaxial_mm**2 * np.sin(half_angle) ** 2 / distance2_mm2
    areas = efficiency * face_mm2**2 * cosines / distance2_mm2 / (2 * np.pi)
    return np.where(is_allowed_step(scanner)[:, None], areas, 0.0)
