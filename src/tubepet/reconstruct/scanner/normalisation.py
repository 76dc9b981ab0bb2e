"""Efficiencies of crystals in any arrangement, from a uniform cylinder of known activity in air.

The fit leaves out lines near the rim of the source, where blur would matter. A pair is expected to
count e_i e_j g_i g_j A_ij L_ij T a. Here A_ij is its area (`crystals`), L_ij its mean length in the
source, T the time, a the activity, e the efficiency of a crystal, and g a factor for how obliquely
a line meets it.

The e follow from the fan sums (all counts of a crystal) by maximum likelihood (Casey and Hoffman
1986, J Comput Assist Tomogr 10, 845; Hogg et al. 2002, doi:10.1109/TNS.2002.803783). Crystals of a
kind (at an edge of their module, or not) share a mean. Each is shrunk toward it, most if it has few
counts. The spread within a kind comes from the counts too. log g is a polynomial of the angles;
Akaike's criterion chooses its order.

Last, all efficiencies are scaled to the counts of all lines near the source. Scatter within the
detector stays in, as it does for a tube; randoms are subtracted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet import layout
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct.background.log_linear import fit_log_linear
from tubepet.reconstruct.projection import kernels
from tubepet.reconstruct.scanner import crystals as table
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.reconstruct.scanner.lors import Cylinder
from tubepet.types import Listmode, Scanner

Array = NDArray[np.float64]
Pairs = tuple[NDArray[np.int32], NDArray[np.int32]]

PAIRS_PER_CHUNK = 1 << 19
# All counts closer to the source than this set the scale, as in `tail_fit`.
MARGIN_MM = 8.0
RIM_MM = 3.0  # lines nearer to the rim of the source are not used: blur moves them over it
NUM_ANGLES = 12  # classes of each of the two angles of a leg
ORDERS = (0, 2, table.NUM_ANGLE_TERMS)  # terms of log g that are tried: none, linear, quadratic
NUM_ROUNDS, NUM_FAN_ROUNDS = 3, 40
MIN_COUNTS = 1000  # 3 % statistical error of the absolute scale


@dataclass(frozen=True)
class Normalisation:
    """Calibrated crystals, and the counts they were fitted to.

    Attributes
    ----------
    crystals : Crystals
    counts, expected : float64 array, shape (num_crystals,)
        Fan sums of the source without randoms, and those of the fit.
    """

    crystals: Crystals
    counts: Array
    expected: Array


def calibrated(calibration: Mapping[str, Any], scanner: Scanner) -> Crystals:
    """Return the crystals of a scanner with the efficiencies of its ``calibration.json``."""
    return replace(
        table.of_scanner(scanner),
        efficiency=np.asarray(calibration["crystal_efficiency"], float),
        angle_terms=np.asarray(calibration["angle_terms"], float),
    )


def as_dict(found: Normalisation) -> dict[str, Any]:
    """Return the part of a ``calibration.json`` that `calibrated` reads."""
    return {
        "crystal_efficiency": found.crystals.efficiency.tolist(),
        "angle_terms": found.crystals.angle_terms.tolist(),
    }


def fit(
    events: Listmode, singles: Array, scanner: Scanner, source: Cylinder, decays: float, name: str
) -> Normalisation:
    """Fit the efficiencies to the coincidences of a uniform cylinder in air.

    Parameters
    ----------
    singles : float64 array, shape (num_crystals,)
        `randoms.fit_crystals`: the randoms of a pair are the product of both.
    source : Cylinder
        In the scanner's frame.
    decays : float
        Decays in the whole source during the acquisition.
    name : str
        The file of the coincidences, for an error.

    Raises
    ------
    InputError
        If there are too few coincidences.
    """
    ideal = table.of_scanner(scanner)
    volume_mm3 = np.pi * source.radius_mm**2 * (source.z_high_mm - source.z_low_mm)
    lines = _Lines(ideal, _half_sides_mm(scanner), source)
    every, all_units = _through(lines)
    all_units *= decays / volume_mm3
    is_inner = lines.is_inner(every)
    pairs, unit = (every[0][is_inner], every[1][is_inner]), all_units[is_inner]
    ends = events.crystal1, events.crystal2
    is_near = (table.pair_areas_mm2(ideal, *ends) > 0) & (lines.chords_mm(ends, MARGIN_MM) > 0)
    is_seen = is_near & lines.is_inner(ends) & (lines.chords_mm(ends) > 0)
    if is_seen.sum() < MIN_COUNTS:
        raise InputError(
            f"{name}: got {is_seen.sum()} coincidences from the source, expected at least "
            f"{MIN_COUNTS} (raise simulate.calibration_decays)"
        )
    seen = events.crystal1[is_seen], events.crystal2[is_seen]
    floor = singles * _partners(pairs, np.ones(len(unit)), singles)
    fans = np.bincount(np.concatenate(seen), minlength=len(ideal)) - floor
    kind, found = layout.table(scanner).kind, ideal
    for _ in range(NUM_ROUNDS):
        weights = unit * _angle_factors(found, pairs)
        efficiency, spread = _fit_fans(pairs, weights, fans, kind, ideal.efficiency)
        found = replace(found, efficiency=efficiency)
        found = replace(found, angle_terms=_fit_angles(found, pairs, unit, seen, singles))
    weights = unit * _angle_factors(found, pairs)
    efficiency, spread = _fit_fans(pairs, weights, fans, kind, ideal.efficiency)
    expected = efficiency * _partners(pairs, weights, efficiency)
    # counts that blur carried over the rim belong to the source too
    made = float((all_units * _angle_factors(found, every) * _products(efficiency, every)).sum())
    carried = (is_near.sum() - float(_products(singles, every).sum())) / made
    is_used = expected > 0
    log.info(
        "%d coincidences in, %d from the source, %.1f of them random; efficiency of a crystal "
        "%.4f; crystals of a kind differ by %.1f %%; %d terms of angle; with what is carried over "
        "the rim %.4f of the counts",
        len(events), is_seen.sum(), floor.sum() / 2, efficiency[is_used].mean(), 100 * spread,
        len(found.angle_terms), carried,
    )  # fmt: skip
    found = replace(found, efficiency=efficiency * np.sqrt(carried))
    return Normalisation(found, fans, expected)


def _chunks(first: NDArray[np.int32], second: NDArray[np.int32]) -> list[Pairs]:
    starts = range(0, len(first), PAIRS_PER_CHUNK)
    return [(first[i : i + PAIRS_PER_CHUNK], second[i : i + PAIRS_PER_CHUNK]) for i in starts]


@dataclass(frozen=True)
class _Lines:
    """Lines between faces, of half sides of shape (n, 2, 3), and the source."""

    crystals: Crystals
    half_sides_mm: Array
    source: Cylinder

    def chords_mm(self, pairs: Pairs, margin_mm: float = 0.0) -> Array:
        """Mean length (mm) of the lines of pairs within the source and a margin around it."""
        low_mm, high_mm = self.source.z_low_mm, self.source.z_high_mm
        points_mm = self.crystals.points_mm - [0.0, 0.0, (low_mm + high_mm) / 2]
        size = self.source.radius_mm + margin_mm, (high_mm - low_mm) / 2 + margin_mm
        chords_mm: Array = kernels.cylinder_chords(points_mm, self.half_sides_mm, *pairs, *size)
        return chords_mm

    def is_inner(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which pairs pass the axis closer than the rim of the source."""
        inner_mm = max(self.source.radius_mm - RIM_MM, self.source.radius_mm / 2)
        start, end = (self.crystals.points_mm[which, :2] for which in pairs)
        way = end - start
        # lines along the axis are not used
        length_mm = np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-12)
        moment = start[:, 0] * way[:, 1] - start[:, 1] * way[:, 0]
        return np.asarray(np.abs(moment) / length_mm <= inner_mm)


def _half_sides_mm(scanner: Scanner) -> Array:
    found = layout.table(scanner)
    axis = np.array([0.0, 0.0, 1.0])
    width, height = found.sizes_mm[:, 1:2] / 2, found.sizes_mm[:, 2:] / 2
    return np.stack([width * np.cross(axis, found.outwards), height * axis], axis=1)


def _through(lines: _Lines) -> tuple[Pairs, Array]:
    """List all pairs that see the source, with their area times length, mm3."""
    crystals = lines.crystals
    total = len(crystals) * (len(crystals) - 1) // 2
    found: list[tuple[NDArray[np.int32], NDArray[np.int32], Array]] = []
    for start in range(0, total, PAIRS_PER_CHUNK):
        numbers = np.arange(start, min(start + PAIRS_PER_CHUNK, total))
        first, second = table.numbered_pairs(numbers)
        rows = np.flatnonzero(table.is_coincidence(crystals, first, second))
        first, second = first[rows], second[rows]
        chords_mm = lines.chords_mm((first, second))
        rows = np.flatnonzero(chords_mm)
        first, second = first[rows], second[rows]
        unit = chords_mm[rows] * table.pair_areas_mm2(crystals, first, second)
        is_used = unit > 0
        found.append((first[is_used], second[is_used], unit[is_used]))
    firsts, seconds, units = zip(*found, strict=True)
    return (np.concatenate(firsts), np.concatenate(seconds)), np.concatenate(units)


def _products(numbers: Array, pairs: Pairs) -> Array:
    """Product of the numbers of both crystals of pairs."""
    return numbers[pairs[0]] * numbers[pairs[1]]


def _partners(pairs: Pairs, weights: Array, strength: Array) -> Array:
    """Sum the weights of every crystal's pairs, times the strength of the other one."""
    first, second = pairs
    sums: Array = np.zeros(len(strength))
    for one, other in ((first, second), (second, first)):
        sums += np.bincount(one, weights * strength[other], len(strength))
    return sums


def _fit_fans(
    pairs: Pairs, weights: Array, fans: Array, kind: NDArray[np.int64], is_alive: Array
) -> tuple[Array, float]:
    """Fit the efficiencies; return them and their relative spread within kinds."""
    efficiency = is_alive * np.sqrt(max(fans.sum(), 1.0) / 2 / weights.sum())
    for _ in range(NUM_FAN_ROUNDS):
        partners = is_alive * _partners(pairs, weights, efficiency)
        seen, made = np.bincount(kind, partners), np.bincount(kind, is_alive * fans)
        # crystals that no line of the source meets take the mean of the others
        mean_of_all = float(made.sum() / seen.sum())
        scales = np.divide(made, seen, out=np.full(len(seen), mean_of_all), where=seen > 0)
        scale = is_alive * np.maximum(scales, 0.0)[kind]
        mean = scale * partners
        # variance of the counts beyond Poisson's
        beyond = float(((fans - mean) ** 2 - mean)[mean > 0].sum())
        variance = max(beyond / float((mean**2).sum()), 0.0)
        new = scale * np.maximum(fans * variance + 1, 0.0) / (mean * variance + 1)
        efficiency = np.sqrt(efficiency * new)
    return efficiency, float(np.sqrt(variance))


def _angle_factors(crystals: Crystals, pairs: Pairs) -> Array:
    """g_i g_j of pairs."""
    if len(crystals.angle_terms) == 0:
        return np.ones(len(pairs[0]))
    return np.concatenate(
        [np.exp(sum(_features(crystals, part)) @ crystals.angle_terms) for part in _chunks(*pairs)]
    )


def _features(crystals: Crystals, pairs: Pairs) -> tuple[Array, Array]:
    """`angle_features` of both legs of pairs."""
    ways = crystals.points_mm[pairs[1]] - crystals.points_mm[pairs[0]]
    ways /= np.linalg.norm(ways, axis=1)[:, None]
    first, second = (table.angle_features(crystals.normals[which], ways) for which in pairs)
    return first, second


def _fit_angles(
    crystals: Crystals, pairs: Pairs, unit: Array, seen: Pairs, singles: Array
) -> Array:
    """Fit log g to the counts of pairs of angles, for the given efficiencies."""
    num = NUM_ANGLES**4
    exposure, floor, counts = np.zeros(num), np.zeros(num), np.zeros(num)
    features = np.zeros((num, ORDERS[-1]))
    start = 0
    for first, second in _chunks(*pairs):
        strength = unit[start : start + len(first)]
        start += len(first)
        strength = strength * crystals.efficiency[first] * crystals.efficiency[second]
        legs = _features(crystals, (first, second))
        cell = _cell(*legs)
        exposure += np.bincount(cell, strength, num)
        floor += np.bincount(cell, singles[first] * singles[second], num)
        for k in range(features.shape[1]):
            features[:, k] += np.bincount(cell, strength * (legs[0] + legs[1])[:, k], num)
    for part in _chunks(*seen):
        counts += np.bincount(_cell(*_features(crystals, part)), minlength=num)
    is_used = exposure > 0
    exposure, floor, counts = exposure[is_used], floor[is_used], counts[is_used]
    features = features[is_used] / exposure[:, None]
    fits = []
    for order in ORDERS:
        design = np.hstack([np.ones((len(exposure), 1)), features[:, :order]])
        found = fit_log_linear(design, exposure, floor, counts)
        mean = exposure * np.exp(design @ found) + floor
        fits.append((order - float(counts @ np.log(mean) - mean.sum()), found[1:]))
    best = min(fits, key=lambda fit: fit[0])[1]
    return np.pad(best, (0, ORDERS[-1] - len(best))) if len(best) > 0 else best


def _cell(first: Array, second: Array) -> NDArray[np.int64]:
    """Return the number of the class of two legs by their angles."""
    index: NDArray[np.int64] = np.zeros(len(first), np.int64)
    for features in (first, second):
        for k in range(2):
            sine = np.sqrt(features[:, k])
            index = index * NUM_ANGLES + np.minimum((sine * NUM_ANGLES).astype(int), NUM_ANGLES - 1)
    return index
