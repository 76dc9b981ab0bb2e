"""Paths of scattered photon pairs from crystal to crystal, over one scatter point or several.

A scattered coincidence is a path A, s1, ..., sn, B with the annihilation on one of its n + 1
segments. Points s1 are drawn with a density proportional to the attenuation. The directions of the
next segments are uniform, and their lengths are those of 511 keV photons that are sure to collide.
s1, ..., sn are a chain. The expected counts of all pairs (A, B) are exact sums over the chains
(`kernels.multiple_sums`), as in single scatter simulation. Cf. Tsoumpas et al. 2005 and Watson et
al. 2018 for two points.

All draws come from Roberts' R sequences (additive recurrences with powers of the root of x^(d+1) =
x + 1). Their points fill the object evenly, however many are taken, and are the same every time.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tubepet.reconstruct.background import detection, kernels
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry
from tubepet.reconstruct.scanner.crystals import Crystals, angle_factors
from tubepet.types import Scanner, Volume

Array = NDArray[np.float64]

NUM_POINTS = 128
# Chains of two, three and four points, from NUM_POINTS first ones; longer ones are left out. Each
# number divides the one before and is a multiple of NUM_POINTS.
NUM_CHAINS = 1024, 512, 128
NUM_STEPS = 64  # along a segment


@dataclass(frozen=True)
class Scene:
    """Activity, attenuation and scanner: what photons come from, go through and reach.

    Attributes
    ----------
    activity : Volume
        Bq/mm3.
    mu : Volume
        Attenuation at 511 keV on its own grid, 1/mm.
    scanner : Scanner
    efficiency : float64 array, shape (num_columns // 2 + 1, num_rings), or Crystals
        Pair efficiency by column step and ring difference (`calibration`), or calibrated crystals.
        Of crystals only the angle terms are used: their efficiency and area are taken as 1.
    detection : float64 array
        `detection.detection_table` of the scanner.
    num_moments : int
        1: counts only; 3: `legs` also computes the mean place of the activity along each leg.
    """

    activity: Volume
    mu: Volume
    scanner: Scanner
    efficiency: Array | Crystals
    detection: Array
    num_moments: int


class Ends(NamedTuple):
    """Crystals that photons reach: places (mm) and unit vectors along their depth, (n, 3) each."""

    points_mm: Array
    outwards: Array

    def at(self, rows: NDArray[np.int64]) -> "Ends":
        """Return some of them."""
        return Ends(self.points_mm[rows], self.outwards[rows])


def ring_ends(scanner: Scanner, crystals: NDArray[np.int64]) -> Ends:
    """Return crystals of a ring."""
    points_mm = geometry.crystal_points_mm(scanner)[crystals]
    return Ends(points_mm, points_mm * [1, 1, 0] / geometry.detection_radius_mm(scanner))


def sequence(num: int, dimensions: int) -> Array:
    """Return the first points of an R sequence (Roberts 2018), shape (num, dimensions), 0 to 1."""
    root = 1.5
    for _ in range(100):
        root = (1 + root) ** (1 / (dimensions + 1))
    steps = root ** -np.arange(1.0, dimensions + 1)
    return np.asarray((0.5 + np.outer(np.arange(1, num + 1), steps)) % 1)


def scatter_points(mu: Volume, num: int) -> tuple[Array, float]:
    """Spread points evenly over the object with a density proportional to the attenuation.

    The attenuation is without Rayleigh scattering (`detection.attenuation_per_mm`). Slice, row and
    place in the row are drawn in turn, each given those before (Rosenblatt's transformation of an R
    sequence). Points lie anywhere within voxels.

    Returns
    -------
    float64 array, shape (num, 3)
        (x, y, z), mm; shape (0, 3) in air.
    float
        Volume times attenuation that each stands for, mm2.
    """
    weights = detection.attenuation_per_mm(mu.array.astype(np.float64))
    total = float(weights.sum())
    if total == 0:
        return np.empty((0, 3)), 0.0
    along = (np.arange(num) + 0.5) / num
    draws = sequence(num, 2)
    z, z_part = _drawn(np.broadcast_to(weights.sum(axis=(1, 2)), (num, len(weights))), along)
    y, y_part = _drawn(weights.sum(axis=2)[z], draws[:, 0])
    x, x_part = _drawn(weights[z, y], draws[:, 1])
    place = np.stack([z + z_part, y + y_part, x + x_part], axis=1) - 0.5
    points = np.array(mu.grid.origin_mm) + place * mu.grid.voxel_mm
    return points[:, ::-1].copy(), total * mu.grid.voxel_volume_mm3 / num


def _drawn(weights: Array, draws: Array) -> tuple[NDArray[np.int64], Array]:
    """Draw one column of each row, and the place within it, 0 to 1."""
    sums = np.cumsum(weights, axis=1)
    wanted = draws * sums[:, -1]
    column = np.minimum((sums <= wanted[:, None]).sum(axis=1), weights.shape[1] - 1)
    row = np.arange(len(draws))
    left = np.divide(
        sums[row, column] - wanted, weights[row, column],
        out=np.zeros(len(draws)), where=weights[row, column] > 0,
    )  # fmt: skip
    return column, 1 - left


def legs(scene: Scene, points: Array, ends: Ends) -> tuple[Array, Array]:
    """Describe the legs, the straight ways from points to crystals.

    Parameters
    ----------
    points : float64 array, shape (n, 3)
        mm.
    ends : Ends
        Of length m.

    Returns
    -------
    float64 array, shape (n, m, 3)
        Directions.
    float64 array, shape (n, m, 6)
        As `kernels.single_sums` takes them.
    """
    shape = len(points), len(ends.points_mm)
    everything = np.concatenate([points, ends.points_mm])
    first, second = np.indices(shape).reshape(2, -1)
    lines = everything, first, second + len(points)
    through = Lines(scene.activity.grid, *lines)
    away = ends.points_mm - points[:, None]
    distance_mm = np.linalg.norm(away, axis=2)
    away /= distance_mm[:, :, None]
    attenuation = detection.attenuation_per_mm(scene.mu.array)
    through_mu = Lines(scene.mu.grid, *lines).forward(attenuation)
    found = np.zeros((*shape, 6))
    emission = through.forward(scene.activity.array).reshape(shape)
    found[..., kernels.EMISSION] = emission
    found[..., kernels.DEPTH] = through_mu.reshape(shape)
    cosine = (away * ends.outwards).sum(axis=2)
    if isinstance(scene.efficiency, Crystals):
        terms = scene.efficiency.angle_terms
        found[..., kernels.FACE] = angle_factors(ends.outwards, away, terms)
    else:
        found[..., kernels.FACE] = _leg_efficiency(scene, points, away, cosine)
    found[..., kernels.FACE] *= cosine / distance_mm**2
    found[..., kernels.OBLIQUITY] = detection.obliquity_row(cosine)
    found[..., kernels.DISTANCE] = distance_mm
    if scene.num_moments > 1:
        travel = np.zeros(shape)
        axes_mm = scene.activity.grid.axes_mm()
        for axis, places in enumerate(np.meshgrid(*axes_mm, indexing="ij")[::-1]):
            weighted = through.forward(scene.activity.array * places).reshape(shape)
            travel += (weighted - emission * points[:, axis, None]) * away[..., axis]
        travel = np.divide(travel, emission, out=np.zeros(shape), where=emission > 0)
        found[..., kernels.TRAVEL] = travel
    return away, found


def _leg_efficiency(scene: Scene, points: Array, away: Array, cosine: Array) -> Array:
    """Probability that a photon of 511 keV along a leg is counted.

    It depends on the distance from the axis as the root of the pair efficiency. On the obliquity it
    depends as `detection`, and the pair efficiency sets only the scale: pairs as oblique as the
    legs to the outermost rings exist only at both ends of the scanner, where photons leave it.
    """
    assert not isinstance(scene.efficiency, Crystals)
    scanner, radius_mm = scene.scanner, geometry.detection_radius_mm(scene.scanner)
    across = np.hypot(away[..., 0], away[..., 1])
    x_mm, y_mm = points[:, None, 0], points[:, None, 1]
    distance_mm = np.abs(x_mm * away[..., 1] - y_mm * away[..., 0]) / across
    step = np.arccos(np.minimum(distance_mm / radius_mm, 1.0)) / np.pi * scanner.num_columns
    by_step = scene.efficiency.sum(axis=1) / scene.efficiency[-1].sum()
    on_axis = np.sqrt(np.interp(step, np.arange(len(by_step)), by_step))
    difference = np.arange(scanner.num_rings)
    cosine_of_pair = np.cos(np.arctan2(difference * scanner.axial_pitch_mm, 2 * radius_mm))
    secants = np.linspace(1, detection.MAX_SECANT, detection.NUM_OBLIQUITIES)
    seen_of_pair, oblique = (
        np.interp(1 / np.maximum(c, 1e-6), secants, scene.detection[:, -1])
        for c in (cosine_of_pair, cosine)
    )
    number = scanner.num_rings - difference
    scale = np.sqrt(np.average(scene.efficiency[-1], weights=number))
    scale /= np.sqrt(np.average(seen_of_pair**2, weights=number))
    return np.asarray(on_axis * oblique * scale)


def single(scene: Scene, points: Array, weight_mm2: float, found: tuple[Array, Array]) -> Array:
    """Return the counts of all pairs of ends over one point, as `kernels.single_sums`, 1/s.

    Parameters
    ----------
    found : tuple of arrays
        `legs` of the points.
    """
    shares = np.stack(detection.scattering_shares(_sampled(scene.mu, points)), axis=1)
    sums = kernels.single_sums(
        *found, weight_mm2 * shares, *detection.by_kev(scene.detection, scene.scanner),
        scene.num_moments,
    )  # fmt: skip
    return sums * _pair_factor_mm4(scene)


def multiple(
    scene: Scene, points: Array, weight_mm2: float, found: tuple[Array, Array], ends: Ends
) -> Array:
    """Return the counts of all pairs of ends over several points, as `kernels.single_sums`, 1/s.

    Parameters
    ----------
    found : tuple of arrays
        `legs` of the points to the ends.
    ends : Ends
    """
    total = np.zeros((scene.num_moments, len(ends.points_mm), len(ends.points_mm)))
    # Each chain has a twin with the same draws that starts the other way: their errors along the
    # object cancel.
    of_each = [num * len(points) // NUM_POINTS for num in NUM_CHAINS]
    num = of_each[0]
    first, twin = np.arange(num) * len(points) // num, np.tile([[1.0], [-1.0]], (num // 2, 1))
    draws = np.repeat(sequence(num // 2, 3 * len(NUM_CHAINS)), 2, axis=0)
    here, ways, segments = points[first], np.empty((num, 0, 3)), np.empty((num, 0, 5))
    weights = weight_mm2 * detection.scattering_shares(_sampled(scene.mu, here))[0]
    least_cosine = -1.0  # the first segment has any direction
    for i, fewer in enumerate(of_each):
        some = np.arange(len(first)) // 2 % (num // fewer) == num // fewer // 2
        first, draws, here, ways, segments, weights = (
            part[some] for part in (first, draws, here, ways, segments, weights)
        )
        num = fewer
        way = _directions(ways, draws[:, 3 * i : 3 * i + 2], least_cosine)
        if i == 0:
            way *= twin
        here, segment, chance = _next(scene, here, way, draws[:, 3 * i + 2])
        ways = np.concatenate([ways, way[:, None]], axis=1)
        segments = np.concatenate([segments, segment[:, None]], axis=1)
        weights = weights * 2 * np.pi * (1 - least_cosine) * chance
        chains = ways, segments, weights * len(points) / num, first, np.arange(num)
        legs_of_ends = *found, *legs(scene, here, ends)
        tables = detection.by_kev(scene.detection, scene.scanner)
        total += kernels.multiple_sums(chains, legs_of_ends, *tables, scene.num_moments)
        least_cosine = detection.least_cosine(scene.scanner)
    return (total + kernels.exchanged(total)) / 2 * _pair_factor_mm4(scene)


def _pair_factor_mm4(scene: Scene) -> float:
    """Squared area of a face over 2 pi, the solid angle of the directions of a pair."""
    if isinstance(scene.efficiency, Crystals):
        return 1 / (2 * np.pi)
    scanner = scene.scanner
    return (scanner.crystal_width_mm * scanner.crystal_height_mm) ** 2 / (2 * np.pi)


def _directions(ways: Array, draws: Array, least_cosine: float) -> Array:
    """Draw directions uniformly within an angle of the last one of each chain."""
    before = ways[:, -1] if ways.shape[1] else np.tile([0.0, 0.0, 1.0], (len(ways), 1))
    cosine = 1 - draws[:, :1] * (1 - least_cosine)
    turn = 2 * np.pi * draws[:, 1:]
    other = np.where(np.abs(before[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]])
    first = np.cross(before, other)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    side = first * np.cos(turn) + np.cross(before, first) * np.sin(turn)
    return np.asarray(before * cosine + side * np.sqrt(1 - cosine**2))


def _next(scene: Scene, here: Array, way: Array, draws: Array) -> tuple[Array, Array, Array]:
    """Draw the next vertices.

    Returns
    -------
    float64 arrays, shape (n, 3), (n, 5), (n,)
        Places, mm; segments as `kernels.multiple_sums` takes them; probability of a Compton
        collision.
    """
    low = np.array(scene.mu.grid.origin_mm[::-1]) - np.array(scene.mu.grid.voxel_mm[::-1]) / 2
    high = low + np.array(scene.mu.grid.voxel_mm[::-1]) * scene.mu.grid.shape[::-1]
    exit_mm = (np.where(way > 0, high - here, low - here) / way).min(axis=1)
    share = (np.arange(NUM_STEPS) + 0.5) / NUM_STEPS
    mu = _sampled(scene.mu, here[:, None] + way[:, None] * (share * exit_mm[:, None])[..., None])
    depths = detection.attenuation_per_mm(mu) * (exit_mm / NUM_STEPS)[:, None]
    total = depths.sum(axis=1)
    chance = -np.expm1(-total)
    depth = -np.log1p(-draws * chance)
    step, part = _drawn(depths, np.divide(depth, total, out=0 * depth, where=total > 0))
    length_mm = (step + part) / NUM_STEPS * exit_mm
    there = here + way * length_mm[:, None]
    passed = here[:, None] + way[:, None] * (share * length_mm[:, None])[..., None]
    activity = _sampled(scene.activity, passed)
    emission = activity.mean(axis=1) * length_mm
    segment = np.zeros((len(here), 5))
    segment[:, kernels.EMISSION], segment[:, kernels.DEPTH] = emission, depth
    segment[:, kernels.LENGTH] = length_mm
    travel = (activity * share).mean(axis=1) * length_mm**2
    segment[:, kernels.TRAVEL] = np.divide(travel, emission, out=0 * travel, where=emission > 0)
    return there, segment, chance * detection.scattering_shares(_sampled(scene.mu, there))[0]


def _sampled(volume: Volume, points: Array) -> Array:
    """Return the voxels that hold points (x, y, z) in mm; 0 outside."""
    grid = volume.grid
    place = np.rint((points[..., ::-1] - grid.origin_mm) / grid.voxel_mm).astype(np.int64)
    is_inside = np.all((place >= 0) & (place < grid.shape), axis=-1)
    z, y, x = np.moveaxis(np.where(np.expand_dims(is_inside, -1), place, 0), -1, 0)
    return np.where(is_inside, volume.array[z, y, x], 0.0).astype(np.float64)
