"""Single scatter simulation: coincidences of which one photon scattered once in the object.

Expected counts per second of the crystals A and B (after Watson, Newport and Casey
1996 and Ollinger 1996, doi:10.1088/0031-9155/41/1/012), over scatter points s that stand for a
volume V each:

    F sum_s V mu p(theta) e_A e_B a^2 cos_A cos_B / (2 pi R_A^2 R_B^2) (I_A att_AB + I_B att_BA)

with mu the attenuation in s at 511 keV, p the Klein-Nishina probability per sr, e the root of the
calibrated pair efficiency at the obliquity of this leg, a^2 the squared area of a crystal's face,
R and cos distance and incidence from s, I_A the integral of the activity from s to A, att_AB =
exp(-int_A mu(511) - int_B mu(E)) D(E) / D(511), E the energy after scattering, D the probability
that a photon makes a single in the window, and F what multiple and Rayleigh scattering add. What
the pair efficiency holds of scatter between crystals holds here too.

With time of flight (cf. Watson 2007, IEEE Trans. Nucl. Sci. 54, 1679) the scatter of a pair is
spread along its line as a Gaussian with the mean and the variance of the sum: a pair emitted u mm
from s toward A is measured (R_A - R_B) / 2 - u from the middle of AB toward B. That is good for
objects shorter than the resolution; u is the mean over the activity between s and A.

Simplified: one factor (Klein and Nishina's total) carries the attenuation of all materials from 511
keV to E, and multiple scattering has the profile of single scattering.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tubepet import layout, rng
from tubepet.constants import FWHM_PER_SIGMA, PHOTON_KEV
from tubepet.reconstruct.problem import Instrument
from tubepet.reconstruct.projection import kernels
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry, time_of_flight
from tubepet.reconstruct.scanner.crystals import Crystals, angle_features
from tubepet.types import Listmode, Scanner, Volume

NUM_POINTS = 250
# Of the scattered coincidences of a round tube of the default size 92.6 % had one Compton
# scattering only, 6.4 % several and 1.0 % one Rayleigh scattering (fast engine, 2e7 decays).
ALL_PER_SINGLE = 1 / 0.926
COLUMN_STRIDE, NUM_COARSE_RINGS = 4, 9
# LYSO at 511 keV, 1/mm (xraylib 4, as `geometry`), and the photoelectric power law from 250 keV on
PHOTOELECTRIC_PER_MM, PHOTOELECTRIC_POWER, COMPTON_PER_MM = 0.0245, 2.6, 0.0539
NUM_PHOTONS = 20000  # per energy of the table of detection: 0.7 % at 511 keV
NUM_COSINES = 2001
TABLE_KEV = np.arange(270.0, 512.0, 24.1)


def klein_nishina_per_sr(cosine: NDArray[np.float64], energy_kev: float) -> NDArray[np.float64]:
    """Return the differential cross section in squared classical electron radii per sr."""
    rest = 1 / (1 + energy_kev / PHOTON_KEV * (1 - cosine))
    return rest**2 * (rest + 1 / rest - 1 + cosine**2) / 2


def klein_nishina_total(energy_kev: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the total cross section in squared classical electron radii."""
    k = np.asarray(energy_kev, np.float64) / PHOTON_KEV
    log = np.log(1 + 2 * k)
    first = (1 + k) / k**2 * (2 * (1 + k) / (1 + 2 * k) - log / k)
    return 2 * np.pi * (first + log / (2 * k) - (1 + 3 * k) / (1 + 2 * k) ** 2)


def detection_table(scanner: Scanner) -> NDArray[np.float64]:
    """Singles in the window per photon of `TABLE_KEV` onto a wall of crystals, by Monte Carlo."""
    return np.array(
        [
            _singles_per_photon(scanner, energy, rng.stream(0, "reconstruct", "detection", i))
            for i, energy in enumerate(TABLE_KEV)
        ]
    )


def _singles_per_photon(scanner: Scanner, start_kev: float, random: np.random.Generator) -> float:
    depth_mm, pitch_mm = _cell_mm(scanner)
    num = NUM_PHOTONS
    place: NDArray[np.float64] = np.zeros((num, 3))
    place[:, 1:] = random.uniform(size=(num, 2)) * pitch_mm
    way: NDArray[np.float64] = np.tile([1.0, 0.0, 0.0], (num, 1))
    energy: NDArray[np.float64] = np.full(num, start_kev)
    deposits = np.zeros((num, 7, 7))  # the crystal hit and three around it
    row: NDArray[np.int64] = np.arange(num)
    while len(row) > 0:
        compton = COMPTON_PER_MM * klein_nishina_total(energy) / klein_nishina_total(
            np.array(PHOTON_KEV)
        )  # fmt: skip
        photo = PHOTOELECTRIC_PER_MM * (PHOTON_KEV / energy) ** PHOTOELECTRIC_POWER
        length_mm = random.exponential(size=len(row)) / (compton + photo)
        place = place + way * length_mm[:, None]
        cell = np.floor(place[:, 1:] / pitch_mm).astype(int) + 3
        inside = (place[:, 0] > 0) & (place[:, 0] < depth_mm)
        inside &= ((cell >= 0) & (cell < 7)).all(axis=1)
        row, cell, energy = row[inside], cell[inside], energy[inside]
        place, way = place[inside], way[inside]
        is_compton = random.uniform(size=len(row)) * (compton + photo)[inside] < compton[inside]
        cosine = _compton_cosines(energy, random)
        left = np.where(is_compton, energy / (1 + energy / PHOTON_KEV * (1 - cosine)), 0.0)
        deposits[row, cell[:, 0], cell[:, 1]] += energy - left
        way = _turned(way, cosine, random.uniform(0, 2 * np.pi, len(row)))
        energy = left
        goes_on = left > 10.0
        row, energy = row[goes_on], energy[goes_on]
        place, way = place[goes_on], way[goes_on]
    sigma = scanner.energy_resolution / FWHM_PER_SIGMA * np.sqrt(deposits * PHOTON_KEV)
    seen = deposits + sigma * random.normal(size=deposits.shape)
    low, high = scanner.energy_window_kev
    return float(((seen >= low) & (seen <= high)).sum() / num)


def _cell_mm(scanner: Scanner) -> tuple[float, NDArray[np.float64]]:
    """Depth of a crystal (of the first family of modules), and its room across and along."""
    if scanner.modules:
        one = layout.families(scanner)[0]
        return one.crystal_depth_mm, np.array([one.pitch_width_mm, one.pitch_height_mm])
    return scanner.crystal_depth_mm, np.array([scanner.crystal_width_mm, scanner.axial_pitch_mm])


def _compton_cosines(
    energy_kev: NDArray[np.float64], random: np.random.Generator
) -> NDArray[np.float64]:
    """Draw from Klein and Nishina's distribution by rejection (the density is at most 1)."""
    cosine = np.empty(len(energy_kev))
    todo = np.arange(len(cosine))
    while len(todo) > 0:
        cosine[todo] = random.uniform(-1, 1, len(todo))
        rest = 1 / (1 + energy_kev[todo] / PHOTON_KEV * (1 - cosine[todo]))
        density = rest**2 * (rest + 1 / rest - 1 + cosine[todo] ** 2) / 2
        todo = todo[random.uniform(size=len(todo)) > density]
    return cosine


def _turned(
    way: NDArray[np.float64], cosine: NDArray[np.float64], turn: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn unit vectors by an angle, at an azimuth."""
    other = np.where(np.abs(way[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(way, other)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(way, first)
    sine = np.sqrt(np.maximum(1 - cosine**2, 0.0))
    side = first * np.cos(turn)[:, None] + second * np.sin(turn)[:, None]
    return np.asarray(way * cosine[:, None] + side * sine[:, None])


def scatter_points(mu: Volume, num: int) -> tuple[NDArray[np.float64], float]:
    """Draw points in the object with a density proportional to the attenuation.

    Every point then stands for the same V mu, so air costs nothing. Systematic sampling along the
    voxels' order: the points spread evenly, and the answer is the same every time.

    Returns
    -------
    float64 array, shape (num, 3)
        (x, y, z), mm.
    float
        V mu of each, mm2.
    """
    sums = np.cumsum(mu.array.ravel(), dtype=np.float64)
    if len(sums) == 0 or sums[-1] == 0:
        return np.empty((0, 3)), 0.0
    chosen = np.searchsorted(sums, (np.arange(num) + 0.5) / num * sums[-1])
    index = np.unravel_index(chosen, mu.array.shape)
    z, y, x = (axis[i] for axis, i in zip(mu.grid.axes_mm(), index, strict=True))
    return np.stack([x, y, z], axis=1), float(sums[-1]) * mu.grid.voxel_volume_mm3 / num


def moments(
    activity: Volume,
    mu: Volume,
    instrument: Instrument,
    detection: NDArray[np.float64],
    num_moments: int,
) -> NDArray[np.float64]:
    """Compute counts, and counts times position and squared position by time of flight.

    Of crystals in all columns and in some rings.

    Parameters
    ----------
    activity : Volume
        Bq/mm3.
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    detection : float64 array
        `detection_table` of the scanner.
    num_moments : int
        1 (counts only) or 3.

    Returns
    -------
    float64 array, shape (num_moments, num_columns, num_columns, coarse rings, coarse rings)
        1/s, mm/s and mm2/s, by both columns and both rings of `coarse_rings`, symmetric; positions
        from the middle of the line toward its second end.
    """
    scanner = instrument.scanner
    rings, columns = coarse_rings(scanner), np.arange(0, scanner.num_columns, COLUMN_STRIDE)
    crystals = (columns[:, None] + rings * scanner.num_columns).ravel()
    ends = geometry.crystal_points_mm(scanner)[crystals]
    legs = _legs(activity, mu, ends, num_moments)
    normals = ends * [1, 1, 0] / geometry.detection_radius_mm(scanner)
    faces = (legs.away * normals).sum(axis=2) / legs.distance_mm**2
    for i, point in enumerate(legs.points_mm):
        faces[i] *= _leg_efficiency(point, legs.away[i], instrument)
    chance, stretch = angle_tables(detection)
    total = kernels.scatter_sums(
        legs.away, faces, legs.emission, legs.depth, chance, stretch, legs.distance_mm, legs.travel
    )[:num_moments]
    face_mm2 = scanner.crystal_width_mm * scanner.crystal_height_mm
    total *= ALL_PER_SINGLE * legs.weight_mm2 * face_mm2**2 / (2 * np.pi)
    coarse = total.reshape(num_moments, len(columns), len(rings), len(columns), len(rings))
    weights = column_weights(scanner)
    return np.einsum("ai,bj,mirjs->mabrs", weights, weights, coarse, optimize=True)


def pair_moments(
    activity: Volume,
    mu: Volume,
    crystals: Crystals,
    detection: NDArray[np.float64],
    pairs: tuple[NDArray[np.integer], NDArray[np.integer]],
    num_moments: int,
) -> NDArray[np.float64]:
    """As `moments`, for a list of pairs of crystals in any arrangement.

    Parameters
    ----------
    crystals : Crystals
        Calibrated.
    pairs : int arrays, shape (k,)

    Returns
    -------
    float64 array, shape (num_moments, k)
    """
    used, place = np.unique(np.concatenate(pairs), return_inverse=True)
    legs = _legs(activity, mu, crystals.points_mm[used], num_moments)
    cosines = np.maximum(-(legs.away * crystals.normals[used]).sum(axis=2), 0.0)
    faces = cosines / legs.distance_mm**2 * (crystals.areas_mm2 * crystals.efficiency)[used]
    if len(crystals.angle_terms) > 0:
        for row, ways in zip(faces, legs.away, strict=True):
            row *= np.exp(angle_features(crystals, used, ways) @ crystals.angle_terms)
    total = kernels.scatter_pairs(
        *np.split(place, 2), legs.away, faces, legs.emission, legs.depth, *angle_tables(detection),
        legs.distance_mm, legs.travel,
    )[:num_moments]  # fmt: skip
    return total * (ALL_PER_SINGLE * legs.weight_mm2 / (2 * np.pi))


class _Legs(NamedTuple):
    """Ways from scatter points to ends; arrays are by point and end.

    Attributes
    ----------
    points_mm : float64 array, shape (points, 3)
    weight_mm2 : float
        V mu of each point.
    away : float64 array, shape (points, ends, 3)
        Unit vectors.
    emission, depth : float64 array
        Integrals of activity and attenuation.
    travel : float64 array
        Mean distance of the activity on the way, mm; 0 unless moments are asked for.
    """

    points_mm: NDArray[np.float64]
    weight_mm2: float
    away: NDArray[np.float64]
    distance_mm: NDArray[np.float64]
    emission: NDArray[np.float64]
    depth: NDArray[np.float64]
    travel: NDArray[np.float64]


def _legs(activity: Volume, mu: Volume, ends: NDArray[np.float64], num_moments: int) -> _Legs:
    grid = activity.grid
    points, weight_mm2 = scatter_points(mu, NUM_POINTS)
    everything = np.concatenate([points, ends])
    first, second = np.indices((len(points), len(ends))).reshape(2, -1)
    second += len(points)
    shape = len(points), len(ends)
    through = Lines(grid, everything, first, second)
    emission = through.forward(activity.array).reshape(shape)
    travel = np.zeros(shape)
    if num_moments > 1:
        for axis, places in enumerate(np.meshgrid(*grid.axes_mm(), indexing="ij")[::-1]):
            weighted = through.forward(activity.array * places)
            way = ends[:, axis] - points[:, axis, None]
            travel += (weighted.reshape(shape) - emission * points[:, axis, None]) * way
    depth = Lines(mu.grid, everything, first, second).forward(mu.array).reshape(shape)
    away = ends - points[:, None]
    distance_mm = np.linalg.norm(away, axis=2)
    away /= distance_mm[:, :, None]
    travel = np.divide(travel, emission * distance_mm, out=np.zeros(shape), where=emission > 0)
    return _Legs(points, weight_mm2, away, distance_mm, emission, depth, travel)


def _leg_efficiency(
    point: NDArray[np.float64],
    away: NDArray[np.float64],
    instrument: Instrument,
) -> NDArray[np.float64]:
    """Root of the pair efficiency of lines as oblique as those from a point, shape (num ends,)."""
    scanner = instrument.scanner
    across = np.hypot(away[:, 0], away[:, 1])
    distance_mm = np.abs(point[0] * away[:, 1] - point[1] * away[:, 0]) / across
    half_angle = np.arccos(np.minimum(distance_mm / geometry.detection_radius_mm(scanner), 1.0))
    chord_mm = 2 * geometry.detection_radius_mm(scanner) * np.sin(half_angle)
    difference = np.abs(away[:, 2]) / across * chord_mm / scanner.axial_pitch_mm
    place = np.stack([half_angle / np.pi * scanner.num_columns, difference])
    assert not isinstance(instrument.efficiency, Crystals)
    return np.sqrt(map_coordinates(instrument.efficiency, place, order=1, mode="nearest"))


def angle_tables(
    detection: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tabulate what depends on the scattering angle only, at equidistant cosines from -1 to 1.

    Returns
    -------
    float64 array, shape (NUM_COSINES,)
        p(theta) D(E) / D(511), 1/sr.
    float64 array, shape (NUM_COSINES,)
        Attenuation at E over that at 511 keV.
    """
    cosine = np.linspace(-1, 1, NUM_COSINES)
    energy = PHOTON_KEV / (2 - cosine)
    total = klein_nishina_total(np.array(PHOTON_KEV))
    kept = np.interp(energy, TABLE_KEV, detection / detection[-1], left=0.0)
    per_sr = klein_nishina_per_sr(cosine, PHOTON_KEV) / total
    return per_sr * kept, klein_nishina_total(energy) / total


def coarse_rings(scanner: Scanner) -> NDArray[np.int64]:
    """Return the rings for which scatter is simulated."""
    num = min(NUM_COARSE_RINGS, scanner.num_rings)
    return np.unique(np.rint(np.linspace(0, scanner.num_rings - 1, num)).astype(np.int64))


def ring_weights(scanner: Scanner) -> NDArray[np.float64]:
    """Return weights of linear interpolation, shape (num_rings, coarse rings)."""
    rings = coarse_rings(scanner)
    return np.stack(
        [np.interp(np.arange(scanner.num_rings), rings, unit) for unit in np.eye(len(rings))], 1
    )


def column_weights(scanner: Scanner) -> NDArray[np.float64]:
    """Return weights of linear interpolation around, shape (num_columns, coarse columns)."""
    columns = np.arange(0, scanner.num_columns, COLUMN_STRIDE)
    every = np.arange(scanner.num_columns)
    units = np.eye(len(columns))
    return np.stack([np.interp(every, columns, u, period=scanner.num_columns) for u in units], 1)


def event_counts(
    scatter: NDArray[np.float64], events: Listmode, scanner: Scanner
) -> NDArray[np.float64]:
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


def event_densities(
    sums: NDArray[np.float64], events: Listmode, scanner: Scanner, sigma_mm: float
) -> NDArray[np.float64]:
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


def densities(
    sums: NDArray[np.float64], time_difference_ns: NDArray[np.float64], sigma_mm: float
) -> NDArray[np.float64]:
    """Return the rate at measured positions from the moments of each event, shape (3, n)."""
    counts, first, second = sums
    is_any = counts > 0
    mean, square = (
        np.divide(part, counts, out=np.zeros(len(counts)), where=is_any) for part in (first, second)
    )
    variance = sigma_mm**2 + np.maximum(square - mean**2, 0.0)
    off_mm = time_of_flight.positions_mm(time_difference_ns) - mean
    return counts * np.exp(-(off_mm**2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def lor_counts(scatter: NDArray[np.float64], scanner: Scanner) -> NDArray[np.float64]:
    """Return the rate of all pairs of a kind, 1/s, shape (num_columns // 2 + 1, rings, rings)."""
    weights, column = ring_weights(scanner), np.arange(scanner.num_columns)
    number = geometry.num_column_pairs(scanner)
    total = np.zeros((len(number), scanner.num_rings, scanner.num_rings))
    for step in np.flatnonzero(geometry.is_allowed_step(scanner)):
        mean = scatter[column, (column + step) % scanner.num_columns].mean(axis=0)
        fine = weights @ ((mean + mean.T) / 2) @ weights.T
        total[step] = number[step] * fine
    return total
