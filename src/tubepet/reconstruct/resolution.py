"""The kernel of the resolution model, fitted to simulated points of known place.

The fast engine simulates single active voxels, scattered over an image that is filled with cold
water. The fit takes the kernel under which their events are likeliest in the model of the
reconstruction (`acquisition`: attenuation, scatter, randoms). Nothing is reconstructed. Many points
at different places average over the pattern of the lines, which are further apart than voxels.

Images mix lines of all slopes, so they have one kernel. An inspection compares lines with a
drawing, so it has a kernel for each class of slopes (`line_blur`). These are fitted to the
distances of lines from single points.

Simplified: the same kernel everywhere in the image; at 50 mm from the axis it would be wider
radially (docs/reconstruction.md has fits by place).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from tubepet import layout, rng
from tubepet.constants import FWHM_PER_SIGMA
from tubepet.logs import log
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.algorithms.em import Objective
from tubepet.reconstruct.problem import Acquisition, Efficiency, Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur, line_blur, sensitivity
from tubepet.reconstruct.scanner import geometry
from tubepet.reconstruct.scanner.crystals import ends_mm
from tubepet.simulate import water_phantoms
from tubepet.simulate.water_phantoms import Engine
from tubepet.types import Grid, Listmode, Volume

Array = NDArray[np.float64]

VOXEL_MM = 0.5
MARGIN_MM = 2.0  # beside the water: the kernel's tails, mirrored from there
SPACING_MM, MAX_POINTS, NUM_TRIES = 7.0, 40, 2000
POINTS_SHARE = 0.8  # of the half width and length of the water
ACTIVITY_BQ = 1e6  # as a tube: randoms stay a few per cent
START_FWHM_MM = 2.1  # of the images that scatter is simulated from
SENSITIVITY_STRIDE = 16
# For the kernels by slope: number of points, largest distances of a line from its point, start
# values of a kernel (core and two tails), and rounds of the fit.
NUM_SINGLE, REACH_MM, NEAR_MM = 48, 25.0, 4.0
BINS_MM = np.concatenate([np.arange(0.0, 6.0, 0.2), np.linspace(6.0, REACH_MM, 39)])
FIRST_SHARES, FIRST_FWHM_MM = (0.8, 0.15, 0.05), (2.5, 6.0, 12.0)
NUM_ROUNDS = 1000  # the tails settle slowly
LEAST_DENSITY = 1e-300
LEAST_EVENTS = 1000  # of a class with a kernel of its own
LEAST_GAIN = 0.1  # of the log-likelihood, at which the search ends


@dataclass(frozen=True)
class Fit:
    """A fitted kernel.

    Attributes
    ----------
    kernel : Kernel
        Core, then tail.
    fwhm_mm : float
        Width of the single Gaussian that fits best.
    gain : float
        Log-likelihood of the kernel above that of this Gaussian.
    """

    kernel: blur.Kernel
    fwhm_mm: float
    gain: float


def points_mm(radius_mm: float, half_mm: float, random: np.random.Generator) -> Array:
    """Draw places at least `SPACING_MM` apart in a cylinder, at most `MAX_POINTS`.

    Returns
    -------
    float64 array, shape (n, 3)
        (x, y, z) of voxel centres of an even grid of `VOXEL_MM`.
    """
    tries = random.uniform(-1, 1, (NUM_TRIES, 3)) * [radius_mm, radius_mm, half_mm]
    found: list[Array] = []
    for place in (np.floor(tries / VOXEL_MM) + 0.5) * VOXEL_MM:
        is_inside = np.hypot(place[0], place[1]) <= radius_mm and len(found) < MAX_POINTS
        if is_inside and all(np.linalg.norm(place - other) >= SPACING_MM for other in found):
            found.append(place)
    return np.array(found)


def fit(
    engine: Engine,
    efficiency: Efficiency,
    half_width_mm: float,
    half_length_mm: float,
    decays: float,
) -> Fit:
    """Simulate points in the image and fit the kernel to them.

    Parameters
    ----------
    engine : Engine
    efficiency : float64 array, shape (num_columns // 2 + 1, num_rings), or Crystals
        As `Instrument`.
    half_width_mm, half_length_mm : float
        Of the image.
    decays : float
        Expected number of decays.
    """
    # an even number of voxels, so that points lie on their centres
    half_width_mm, half_length_mm = (
        VOXEL_MM * math.floor(half / VOXEL_MM) for half in (half_width_mm, half_length_mm)
    )
    random = rng.stream(engine.seed, "reconstruct", "resolution")
    places = points_mm(POINTS_SHARE * half_width_mm, POINTS_SHARE * half_length_mm, random)
    concentration = ACTIVITY_BQ / len(places) / VOXEL_MM**3

    def activity(x: Array, y: Array, z: Array) -> Array:
        is_point = np.zeros(x.shape, bool)
        for place in places:
            away = np.abs(np.stack([x, y, z], -1) - place)
            is_point |= (away < VOXEL_MM / 2).all(axis=-1)
        return np.where(is_point, concentration, 0.0)

    phantom = water_phantoms.painted(
        half_width_mm, 2 * half_length_mm, 0.0, VOXEL_MM, activity,
        lambda x, y, z: np.zeros(x.shape, bool),
    )  # fmt: skip
    margin = round(MARGIN_MM / VOXEL_MM)
    shape = [n + 2 * margin for n in phantom.mu.grid.shape]
    grid = Grid.centred((shape[0], shape[1], shape[2]), (VOXEL_MM,) * 3)
    duration_s = decays / ACTIVITY_BQ
    events, delayed = water_phantoms.acquire(engine, "points", phantom, duration_s)
    geometric = Volume(sensitivity.geometric_sensitivity(engine.scanner, grid, efficiency), grid)
    model = model_acquisition(
        Measurement(events, phantom.mu, duration_s, delayed),
        Instrument(engine.scanner, efficiency, geometric),
        Settings(0, psf=blur.gaussian(START_FWHM_MM), sensitivity_stride=SENSITIVITY_STRIDE),
    )
    log.info("%d points, %d events through the image", len(places), len(model.lines))
    truth = water_phantoms.centred_onto(phantom.activity, grid)
    crystal_mm = layout.table(engine.scanner).sizes_mm[0, 1]
    return fit_kernel(model, truth, float(crystal_mm))


def fit_kernel(model: Acquisition, truth: Array, crystal_mm: float) -> Fit:
    """Fit the kernel to events of a known activity.

    The fit varies the core's widths across and along the axis, the tail's share and width, and the
    scale of the activity.

    Parameters
    ----------
    model : Acquisition
    truth : float64 array, shape (nz, ny, nx)
        Bq/mm3.
    crystal_mm : float
        Width of a crystal: where the search starts.
    """
    # the kernel is its own adjoint: the sensitivity need not be blurred
    objective = Objective(model, Settings(num_iterations=0))

    def misfit(kernel: blur.Kernel, scale: float) -> float:
        return -objective.log_likelihood(scale * blur.blurred(truth, model.grid, kernel))

    def mixture(core_mm: float, axial_mm: float, share: float, tail_mm: float) -> blur.Kernel:
        core = blur.Gaussian(1 - share, core_mm, axial_mm)
        return core, blur.Gaussian(share, tail_mm, tail_mm)

    widths = (0.05 * crystal_mm, 4 * crystal_mm)
    single = _least(
        lambda p: misfit(blur.gaussian(p[0]), p[1]), [0.8 * crystal_mm, 1.0], [widths, (0.2, 5.0)]
    )
    found = _least(
        lambda p: misfit(mixture(*p[:4]), p[4]),
        [0.6 * crystal_mm, 0.8 * crystal_mm, 0.2, 1.6 * crystal_mm, single[0][1]],
        [widths, widths, (0.0, 0.9), (crystal_mm, 8 * crystal_mm), (0.2, 5.0)],
    )
    result = Fit(mixture(*found[0][:4]), single[0][0], single[1] - found[1])
    log.info(
        "core %.2f mm across, %.2f mm along the axis; %.0f %% in a tail of %.2f mm (FWHM); "
        "activity %.4f of the truth; log-likelihood %.1f above that of one Gaussian of %.2f mm",
        found[0][0], found[0][1], 100 * found[0][2], found[0][3], found[0][4], result.gain,
        result.fwhm_mm,
    )  # fmt: skip
    return result


def fit_by_slope(
    engine: Engine,
    efficiency: Efficiency,
    half_width_mm: float,
    half_length_mm: float,
    decays: float,
) -> tuple[list[blur.Kernel], float]:
    """Simulate single points in air, and fit a kernel to the lines of each class of slopes.

    Parameters
    ----------
    engine : Engine
    efficiency : float64 array or Crystals
        As of `fit`.
    half_width_mm, half_length_mm : float
        Of the image.
    decays : float
        Expected number of decays at all points together.

    Returns
    -------
    list of Kernel
        One for each of `line_blur.NUM_CLASSES`, without the blur that image voxels add.
    float
        Stretch: the distance of lines from the axis over the one that their ends give. Photons are
        absorbed a little deeper than at their first interaction
        (`geometry.mean_interaction_depth_mm`).
    """
    random = rng.stream(engine.seed, "reconstruct", "resolution by slope")
    grid = water_phantoms.grid_within(half_width_mm, half_length_mm, VOXEL_MM)
    points_mm = ends_mm(engine.scanner, efficiency)
    distances = []
    for i in range(NUM_SINGLE):
        voxel = tuple(int(random.integers(n)) for n in grid.shape)
        place_mm = np.array([axis[k] for axis, k in zip(grid.axes_mm(), voxel, strict=True)])[::-1]
        activity = np.zeros(grid.shape, np.float32)
        activity[voxel] = ACTIVITY_BQ / VOXEL_MM**3
        phantom = water_phantoms.in_air(Volume(activity, grid))
        duration_s = decays / NUM_SINGLE / ACTIVITY_BQ
        events, _ = water_phantoms.acquire(engine, f"point {i}", phantom, duration_s)
        distances.append(_distances(points_mm, events, place_mm))
    every = np.concatenate(distances)
    near = every[np.abs(every[:, 0]) < NEAR_MM]
    stretch = 1 + float(near[:, 0] @ near[:, 3] / (near[:, 3] @ near[:, 3]))
    every[:, 0] -= (stretch - 1) * every[:, 3]
    return kernels_of(every[:, :3]), stretch


def _distances(points_mm: Array, events: Listmode, place_mm: Array) -> Array:
    """Compare each line with a point.

    Returns
    -------
    float64 array, shape (n, 4)
        By how much the line misses the point across and along the axis (mm); its slope; the signed
        distance (mm) from the axis of a parallel line through the point.
    """
    first = points_mm[events.crystal1] - place_mm
    way = points_mm[events.crystal2] - points_mm[events.crystal1]
    length = np.hypot(way[:, 0], way[:, 1])
    across = (first[:, 0] * way[:, 1] - first[:, 1] * way[:, 0]) / length
    nearest = -(first[:, 0] * way[:, 0] + first[:, 1] * way[:, 1]) / length**2
    along = first[:, 2] + nearest * way[:, 2]
    own = (way[:, 0] * place_mm[1] - way[:, 1] * place_mm[0]) / length
    slopes = geometry.slopes_of(points_mm, events.crystal1, events.crystal2)
    return np.stack([across, along, slopes, own], axis=1)


def kernels_of(distances: Array) -> list[blur.Kernel]:
    """Fit a kernel for each class of slopes by expectation-maximisation.

    All classes share the widths across the axis. Each class has its own shares and widths along it.
    A uniform density stands for randoms. A class with few lines takes the kernel of the next class.

    Parameters
    ----------
    distances : float64 array, shape (n, 3)
        Distances of lines from their points across and along the axis, mm, and slopes.
    """
    distances = distances[(np.abs(distances[:, :2]) < REACH_MM).all(axis=1)]
    kind = np.digitize(distances[:, 2], line_blur.EDGES)
    used = [k for k in range(line_blur.NUM_CLASSES) if (kind == k).sum() >= LEAST_EVENTS]
    if not used:  # all lines together are one class
        kind, used = np.zeros_like(kind), [0]
    away = np.abs(distances[:, :2])
    counts = [np.histogramdd(away[kind == k], bins=(BINS_MM, BINS_MM))[0] for k in used]
    squares, size = (BINS_MM[1:] + BINS_MM[:-1]) ** 2 / 4, np.diff(BINS_MM)

    def densities(variances: Array) -> Array:
        shapes = np.exp(-squares / (2 * variances[:, None])) / np.sqrt(variances[:, None])
        return np.vstack([math.sqrt(2 / math.pi) * shapes * size, size / REACH_MM])

    across = (np.array(FIRST_FWHM_MM) / FWHM_PER_SIGMA) ** 2
    along = np.tile(across, (len(used), 1))
    shares = np.tile([*FIRST_SHARES, 0.01], (len(used), 1))
    for _ in range(NUM_ROUNDS):
        total, weight = np.zeros(len(across)), np.zeros(len(across))
        for k, seen in enumerate(counts):
            each = np.einsum("k,ki,kj->kij", shares[k], densities(across), densities(along[k]))
            mine = seen * each / np.maximum(each.sum(axis=0), LEAST_DENSITY)
            shares[k] = mine.sum(axis=(1, 2)) / seen.sum()
            mine = mine[:-1]
            along[k] = mine.sum(axis=1) @ squares / mine.sum(axis=(1, 2))
            total, weight = total + mine.sum(axis=2) @ squares, weight + mine.sum(axis=(1, 2))
        across = total / weight
    widths = FWHM_PER_SIGMA * np.sqrt(across), FWHM_PER_SIGMA * np.sqrt(along)
    found = [
        tuple(
            blur.Gaussian(*(float(v) for v in one))
            for one in zip(share[:-1] / share[:-1].sum(), widths[0], mine, strict=True)
        )
        for share, mine in zip(shares, widths[1], strict=True)
    ]
    near = [int(np.argmin(np.abs(np.array(used) - k))) for k in range(line_blur.NUM_CLASSES)]
    return [found[k] for k in near]


def _least(
    misfit: Callable[[list[float]], float], start: list[float], bounds: list[tuple[float, float]]
) -> tuple[list[float], float]:
    """Minimise by Nelder and Mead's simplex: parameters and the least value."""
    corners = [start] + [
        [value * (1.2 if i == k else 1.0) for i, value in enumerate(start)]
        for k in range(len(start))
    ]
    options = {"initial_simplex": corners, "xatol": 0.01, "fatol": LEAST_GAIN, "maxfev": 400}
    found = minimize(
        lambda p: misfit(p.tolist()), start, bounds=bounds, method="Nelder-Mead", options=options
    )
    return found.x.tolist(), float(found.fun)
