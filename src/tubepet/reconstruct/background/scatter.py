"""Simulate the scattered coincidences of an object: how many each pair of crystals counts.

Single scatter simulation (after Watson, Newport and Casey 1996 and Ollinger 1996,
doi:10.1088/0031-9155/41/1/012) is continued to two, three and four scatter points (`paths`). Over
one point, the crystals A and B are expected to count per second

    sum_s V mu p(theta) e_A e_B a^2 cos_A cos_B / (2 pi R_A^2 R_B^2) (I_A att_AB + I_B att_BA)

The sum runs over points s that stand for a volume V each. In it

- mu is the attenuation by Compton scattering in s at 511 keV,
- p is the Klein-Nishina probability per sr; Rayleigh scattering is another p, of a few degrees,
- e is the root of the calibrated pair efficiency at the distance from the axis and the obliquity of
  a leg; it includes scatter between crystals,
- a is the area of a crystal's face, R its distance from s, cos the cosine of incidence,
- I_A is the integral of the activity from s to A,
- att_AB = exp(-int_A mu(511) - int_B mu(E)) D(E) / D(511), with E the energy after scattering and D
  the probability that a photon makes a single in the energy window.

With time of flight (cf. Watson 2007, IEEE Trans. Nucl. Sci. 54, 1679) the scatter of a pair is
spread along its line as a Gaussian with the mean and the variance of the sum. A pair emitted u mm
from s toward A is measured (R_A - R_B) / 2 - u from the middle of AB toward B, with u the mean over
the activity between s and A. This is good for objects shorter than the resolution.

Simplified: one factor (the total Klein-Nishina cross section) scales the attenuation of all
materials from 511 keV to E. The attenuation alone gives the material (`detection.MATERIAL_PER_MM`).
"""

import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct.background import nodes, paths
from tubepet.reconstruct.background.nodes import spline
from tubepet.reconstruct.background.paths import NUM_POINTS, Scene
from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.scanner import geometry, time_of_flight
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.types import Listmode, Scanner, Volume

Array = NDArray[np.float64]


def scene(
    activity: Volume, mu: Volume, instrument: Instrument, detection: Array, num_moments: int
) -> Scene:
    """Return what photons come from, go through and reach.

    Parameters
    ----------
    activity : Volume
        Bq/mm3.
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    detection : float64 array
        `detection.detection_table` of the scanner.
    num_moments : int
        1 (counts only) or 3.
    """
    return Scene(activity, mu, instrument.scanner, instrument.efficiency, detection, num_moments)


def moments(scene: Scene, num_points: int = NUM_POINTS) -> Array:
    """Compute the scatter of crystals in all columns and in some rings of a ring scanner.

    Moments are counts, and counts times position and squared position by time of flight.

    Parameters
    ----------
    num_points : int
        Number of first scatter points, a multiple of 16.

    Returns
    -------
    float64 array, shape (num_moments, num_columns, num_columns, coarse rings, coarse rings)
        1/s, mm/s and mm2/s, by both columns and both rings of `nodes.coarse_rings`. Positions are
        from the middle of the line toward its second end. Both orders of a pair are in it.
    """
    scanner, num_moments = scene.scanner, scene.num_moments
    columns, rings = nodes.coarse_columns(scanner), nodes.coarse_rings(scanner)
    shape = len(columns), len(rings)
    crystals = columns[:, None] + rings * scanner.num_columns
    ends = paths.ring_ends(scanner, crystals.ravel())
    points, weight_mm2 = paths.scatter_points(scene.mu, num_points)
    if len(points) == 0:
        return np.zeros((num_moments, *[scanner.num_columns] * 2, *[len(rings)] * 2))
    found = paths.legs(scene, points, ends)
    total = paths.single(scene, points, weight_mm2, found)
    coarse = total.reshape(num_moments, *shape, *shape)
    # scatter over several points is smoother, so fewer ends do
    some = np.arange(crystals.size).reshape(shape)[::2, ::2]
    some_legs = found[0][:, some.ravel()], found[1][:, some.ravel()]
    total = paths.multiple(scene, points, weight_mm2, some_legs, ends.at(some.ravel()))
    several = total.reshape(num_moments, *some.shape, *some.shape)
    around = spline(columns[::2], columns, scanner.num_columns)
    along = spline(rings[::2], rings)
    coarse = coarse + _interpolated(several, around, along)
    everywhere = spline(columns, np.arange(scanner.num_columns), scanner.num_columns)
    fine = _interpolated(coarse, everywhere, np.eye(len(rings))).transpose(0, 1, 3, 2, 4)
    fine[0] = np.maximum(fine[0], 0.0)  # splines overshoot by 1e-4 of the largest
    return fine


def pair_moments(
    scene: Scene,
    pairs: tuple[NDArray[np.integer], NDArray[np.integer]],
    num_points: int = NUM_POINTS,
) -> Array:
    """Compute `moments` for a list of pairs of crystals in any arrangement.

    Nodes (`nodes`) are simulated with an efficiency of 1 and a face of 1 mm2.

    Parameters
    ----------
    scene : Scene
        Its efficiency is `Crystals`.
    pairs : int arrays, shape (k,)
    num_points : int
        As of `moments`.

    Returns
    -------
    float64 array, shape (num_moments, k)
    """
    known = scene.efficiency
    assert isinstance(known, Crystals)
    points, weight_mm2 = paths.scatter_points(scene.mu, num_points)
    total = np.zeros((scene.num_moments, len(pairs[0])))
    if len(points) == 0:
        return total
    for is_single, stride in ((True, 1), (False, 2)):
        ids, weights = nodes.of_scanner(scene.scanner, stride)
        ends = paths.Ends(known.points_mm[ids], -known.normals[ids])
        what = scene, points, weight_mm2, paths.legs(scene, points, ends)
        sums = paths.single(*what) if is_single else paths.multiple(*what, ends)
        for i, part in enumerate(sums):
            total[i] += nodes.between(weights, part, pairs)
    strength = known.efficiency * known.areas_mm2
    total *= strength[pairs[0]] * strength[pairs[1]]
    total[0] = np.maximum(total[0], 0.0)
    return total


def _interpolated(coarse: Array, around: Array, along: Array) -> Array:
    """Interpolate (moment, column, ring, column, ring) by weights of columns and of rings."""
    return np.einsum(
        "ai,kr,mirjs,bj,ls->makbl", around, along, coarse, around, along, optimize=True
    )


def ring_weights(scanner: Scanner) -> Array:
    """Return weights of cubic interpolation, shape (num_rings, coarse rings)."""
    return spline(nodes.coarse_rings(scanner), np.arange(scanner.num_rings))


def event_counts(scatter: Array, events: Listmode, scanner: Scanner) -> Array:
    """Return the expected rate of the crystal pair of every event, 1/s, shape (n,).

    Parameters
    ----------
    scatter : float64 array
        Counts of `moments`.
    """
    weights = ring_weights(scanner)
    ring1, ring2 = geometry.rings(events, scanner)
    local = scatter[events.crystal1 % scanner.num_columns, events.crystal2 % scanner.num_columns]
    return np.einsum("nr,nrs,ns->n", weights[ring1], local, weights[ring2], optimize=True)


def event_densities(sums: Array, events: Listmode, scanner: Scanner, sigma_mm: float) -> Array:
    """Return the expected rate at the measured position of every event, 1/s/mm, shape (n,).

    Parameters
    ----------
    sums : float64 array
        From `moments`.
    sigma_mm : float
        Of the measured position (`time_of_flight.sigma_mm`).
    """
    moments = np.array([event_counts(part, events, scanner) for part in sums])
    return densities(moments, events.time_difference_ns, sigma_mm)


def densities(sums: Array, time_difference_ns: Array, sigma_mm: float) -> Array:
    """Return the rate at measured positions, 1/s/mm, shape (n,), from moments, shape (3, n)."""
    counts, first, second = sums
    is_any = counts > 0
    mean, square = (
        np.divide(part, counts, out=np.zeros(len(counts)), where=is_any) for part in (first, second)
    )
    variance = sigma_mm**2 + np.maximum(square - mean**2, 0.0)
    off_mm = time_of_flight.positions_mm(time_difference_ns) - mean
    return counts * np.exp(-(off_mm**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def lor_counts(scatter: Array, scanner: Scanner) -> Array:
    """Sum the rates of all pairs with equal column step and rings, 1/s.

    Returns
    -------
    float64 array, shape (num_columns // 2 + 1, num_rings, num_rings)
    """
    weights, column = ring_weights(scanner), np.arange(scanner.num_columns)
    number = geometry.num_column_pairs(scanner)
    total = np.zeros((len(number), scanner.num_rings, scanner.num_rings))
    for step in np.flatnonzero(geometry.is_allowed_step(scanner)):
        mean = scatter[column, (column + step) % scanner.num_columns].mean(axis=0)
        fine = weights @ ((mean + mean.T) / 2) @ weights.T
        total[step] = number[step] * fine
    return total
