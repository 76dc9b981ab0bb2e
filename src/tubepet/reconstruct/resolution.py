"""The kernel of the resolution model, fitted to simulated points of known place.

Single voxels of activity are scattered over the image, in cold water that fills it; the fast engine
acquires them. The kernel is the one under which their events are likeliest in the model of the
reconstruction (`acquisition`: attenuation, scatter, randoms): nothing is reconstructed. Many points
at different places average over the pattern of the lines, which are further apart than voxels.

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
from tubepet.logs import log
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.algorithms.em import Objective
from tubepet.reconstruct.problem import Acquisition, Efficiency, Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur, sensitivity
from tubepet.simulate import water_phantoms
from tubepet.simulate.water_phantoms import Engine
from tubepet.types import Grid, Volume

Array = NDArray[np.float64]

VOXEL_MM = 0.5
MARGIN_MM = 2.0  # beside the water: the kernel's tails, mirrored from there
SPACING_MM, MAX_POINTS, NUM_TRIES = 7.0, 40, 2000
POINTS_SHARE = 0.8  # of the half width and length of the water
ACTIVITY_BQ = 1e6  # as a tube: randoms stay a few per cent
START_FWHM_MM = 2.1  # of the images that scatter is simulated from
SENSITIVITY_STRIDE = 16
LEAST_GAIN = 0.1  # of the log-likelihood, at which the search ends


@dataclass(frozen=True)
class Fit:
    """A fitted kernel.

    Attributes
    ----------
    kernel : Kernel
        Core, then tail.
    fwhm_mm : float
        Of the single Gaussian that fits best.
    gain : float
        Of the kernel over it, in log-likelihood.
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
        Expected number.
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

    Free are the core's widths across and along the axis, the tail's share and its width, and, as a
    nuisance, the scale of the activity.

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
