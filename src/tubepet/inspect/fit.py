"""The drawing, fitted to a measurement: activity, place, turn and width of the fluid.

What is fitted is also what no defect may be mistaken for: its directions are projected out of every
score (`score`).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from tubepet.inspect.part import Part, onto_image
from tubepet.logs import log
from tubepet.reconstruct.acquisition import model_known
from tubepet.reconstruct.problem import Acquisition, Instrument, Measurement, Settings
from tubepet.reconstruct.projection.blur import Kernel, blurred
from tubepet.types import Grid, Volume

Array = NDArray[np.float64]

# Beside the activity: shift (mm), turn (degrees), how much wider (all around) and longer (at both
# ends) the fluid is, mm; and of the resolution, how much of it is tail, and how much wider (mm
# FWHM) its core is.
POSE = (
    "x_mm", "y_mm", "z_mm", "turn_x_deg", "turn_y_deg", "turn_z_deg", "wider_mm", "longer_mm",
    "more_tail", "core_mm", "axial_mm",
)  # fmt: skip
# How far off each is before it is measured, widely: what the counts cannot tell stays near 0.
PRIOR = np.array([2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 1.0, 1.0, 0.2, 0.5, 1.0])
# Newton's steps may be too long where the likelihood is no parabola.
MOST_STEP = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0, 0.3, 0.5, 0.05, 0.3, 0.5])
NUM_ROUNDS = 6
ENOUGH = 0.05  # of `MOST_STEP`: a smaller step ends the fit
BLUR_STEPS = (0.02, 0.05, 0.05)  # of finite differences
LEAST_CORE_MM = 0.5
LEAST_RATE = 1e-12  # Bq/mm2, of a line that sees nothing
LEAST_KNOWN = 1e-9  # information about the activity's logarithm, without events
ALONE = 1.001  # two directions that are one have an inverse, too
MARGIN_VOXELS = 8  # by which a drawing may be moved
# Variances and correlations are taken from so many lines, evenly; first derivatives from all.
MOST_ROWS = 32768


class Nuisance(NamedTuple):
    """Directions that are fitted, relative to the expected rates.

    Attributes
    ----------
    shares : float64 array, shape (k, rows)
        Change of the rate of some events (`Fitted.rows`) over their rate, per unit.
    gradient : float64 array, shape (k,)
        Derivative of the logarithm of likelihood and prior; near 0 where it is fitted.
    inverse : float64 array, shape (k, k)
        Covariance of what is fitted, prior included.
    """

    shares: Array
    gradient: Array
    inverse: Array


@dataclass(frozen=True)
class Fitted:
    """The model of a measurement without any defect.

    Attributes
    ----------
    model : Acquisition
        Scatter and randoms, and the sensitivity.
    psf : Kernel
        As it fits.
    activity_bq_mm3 : float
        Of the fluid.
    pose : dict
        By `POSE`, relative to the drawing.
    errors : dict
        Standard deviations of the same.
    rates, trues : float64 array, shape (n,)
        Expected on the line of every event, Bq/mm2: all, and what comes straight from the fluid.
    gradient : float64 array, shape (nz, ny, nx)
        Derivative of the log-likelihood by the activity in each voxel, before the blur, mm3/Bq.
    rows : int64 array, shape (rows,)
        Some events, evenly taken, for variances and correlations.
    weight : float
        Events for which each of them stands.
    nuisance : Nuisance
    """

    model: Acquisition
    psf: Kernel
    activity_bq_mm3: float
    pose: dict[str, float]
    errors: dict[str, float]
    rates: Array
    trues: Array
    gradient: Array
    rows: NDArray[np.int64]
    weight: float
    nuisance: Nuisance

    def moved(self, points_mm: Array) -> Array:
        """Move points (n, 3) of the drawing to where the part lies."""
        turn, shift_mm = _turn(np.array([self.pose[name] for name in POSE]))
        return np.asarray(points_mm @ turn.T + shift_mm)


def fit(measured: Measurement, part: Part, instrument: Instrument, settings: Settings) -> Fitted:
    """Fit activity and pose by Newton's method on the likelihood of all events.

    Parameters
    ----------
    measured : Measurement
        Its attenuation map is that of the drawing.
    settings : Settings
        psf and sensitivity_stride.

    Raises
    ------
    InputError
        As `acquisition.model_known`.
    """
    grid = instrument.grid
    model, scale = model_known(measured, instrument, settings, Volume(part.on_image(grid), grid))
    pose = np.zeros(len(POSE))
    for _ in range(NUM_ROUNDS):
        result, step = _round(model, part, settings.psf, scale, pose)
        if np.abs(step[1:] / MOST_STEP).max() < ENOUGH:
            break
        scale, pose = scale * (1 + step[0]), pose + np.clip(step[1:], -MOST_STEP, MOST_STEP)
    log.info(
        "activity %.5g Bq/mm3; %s",
        result.activity_bq_mm3, ", ".join(f"{k} {v:.3g}" for k, v in result.pose.items()),
    )  # fmt: skip
    return result


def _round(
    model: Acquisition, part: Part, psf: Kernel, scale: float, pose: Array
) -> tuple[Fitted, Array]:
    """Model the drawing at a pose, and the step from there: share of the activity, pose."""
    grid, psf = model.grid, _changed(psf, *pose[8:])
    sharp = [scale * image for image in _images(part, grid, pose)]
    images = [blurred(image, grid, psf) for image in sharp]
    images += _blur_changes(sharp[0], grid, psf)
    back, rates = model.lines.em_sums(images[0])
    trues, rates = rates - model.lines.additive, np.maximum(rates, LEAST_RATE)
    gradient = back - model.sensitivity_s
    rows, weight = some_rows(len(rates), MOST_ROWS)
    lines = model.lines.part(rows)
    shares = np.array([lines.forward(image) for image in images]) / rates[rows]
    known = np.concatenate([[LEAST_KNOWN], PRIOR**-2.0])
    slope = np.array([float((image * gradient).sum()) for image in images])
    slope -= known * np.concatenate([[0.0], pose])
    inverse = np.asarray(np.linalg.inv(weight * (shares @ shares.T) + np.diag(known)), np.float64)
    errors = np.sqrt(np.diag(inverse))[1:]
    now, sure = (dict(zip(POSE, map(float, v), strict=True)) for v in (pose, errors))
    fitted = Fitted(
        model, psf, scale, now, sure, rates, trues, gradient, rows, weight,
        Nuisance(shares, slope, inverse),
    )  # fmt: skip
    return fitted, inverse @ slope


def some_rows(num: int, most: int) -> tuple[NDArray[np.int64], float]:
    """Take rows evenly, at most so many; and for how many each stands."""
    rows = np.arange(0, num, max(math.ceil(num / most), 1))
    return rows, num / max(len(rows), 1)


def _changed(psf: Kernel, more_tail: float, core_mm: float, axial_mm: float) -> Kernel:
    """Change a kernel of a core and a tail; of a kernel of one part, only the widths."""
    if not psf:
        return psf
    core = psf[0]
    core = core._replace(
        transaxial_mm=max(core.transaxial_mm + core_mm, LEAST_CORE_MM),
        axial_mm=max(core.axial_mm + axial_mm, LEAST_CORE_MM),
    )
    if len(psf) == 1:
        return (core,)
    share = min(max(psf[1].share + more_tail, 0.0), 1.0)
    return core._replace(share=1 - share), psf[1]._replace(share=share)


def _blur_changes(image: Array, grid: Grid, psf: Kernel) -> list[Array]:
    """Change of a blurred image per unit of what may change of the kernel."""
    return [
        (blurred(image, grid, _changed(psf, *step)) - blurred(image, grid, _changed(psf, *-step)))
        / (2 * step.sum())
        for step in np.diag(BLUR_STEPS)
    ]


def _images(part: Part, grid: Grid, pose: Array) -> list[Array]:
    """Fluid at a pose on the image's grid, and its change per unit of every number of the pose."""
    fluid = _moved_fluid(part.fluid, pose)
    fine = fluid.grid
    slopes = np.gradient(fluid.array, *fine.voxel_mm)
    z, y, x = np.meshgrid(*fine.axes_mm(), indexing="ij", sparse=True)
    dz, dy, dx = slopes
    degree = np.pi / 180
    changes = [
        -dx, -dy, -dz, degree * (z * dy - y * dz), degree * (x * dz - z * dx),
        degree * (y * dx - x * dy), np.hypot(dx, dy), np.abs(dz),
    ]  # fmt: skip
    return [onto_image(Volume(array, fine), grid) for array in (fluid.array, *changes)]


def _moved_fluid(drawn: Volume, pose: Array) -> Volume:
    """Shift, turn and widen a drawing on its own voxels, with a margin around it."""
    grid, margin = drawn.grid, MARGIN_VOXELS
    array = np.pad(drawn.array.astype(np.float64), margin)
    origin = [o - margin * d for o, d in zip(grid.origin_mm, grid.voxel_mm, strict=True)]
    wide = Grid(
        (array.shape[0], array.shape[1], array.shape[2]), grid.voxel_mm,
        (origin[0], origin[1], origin[2]),
    )  # fmt: skip
    if pose[:6].any():
        turn, shift_mm = _turn(pose)
        back = turn.T[::-1, ::-1]  # axes z, y, x
        voxel_mm, first_mm = np.array(wide.voxel_mm), np.array(wide.origin_mm)
        matrix = back * voxel_mm / voxel_mm[:, None]
        offset = (back @ (first_mm - shift_mm[::-1]) - first_mm) / voxel_mm
        array = affine_transform(array, matrix, offset, order=1)
    if pose[6:8].any():
        dz, dy, dx = np.gradient(array, *wide.voxel_mm)
        array = np.clip(array + pose[6] * np.hypot(dx, dy) + pose[7] * np.abs(dz), 0.0, 1.0)
    return Volume(array, wide)


def _turn(pose: Array) -> tuple[Array, Array]:
    """Rotation matrix and shift (x, y, z)."""
    return Rotation.from_rotvec(pose[3:6], degrees=True).as_matrix(), pose[:3]


def extended(nuisance: Nuisance, shares: Array, slope: float, weight: float) -> Nuisance:
    """Fit one more direction: a defect that was found, perhaps where another was found before."""
    more = np.vstack([nuisance.shares, shares])
    known = np.linalg.inv(nuisance.inverse)
    across = weight * (nuisance.shares @ shares)
    own = ALONE * weight * float(shares @ shares)
    whole = np.block([[known, across[:, None]], [across[None, :], np.array([[own]])]])
    return Nuisance(more, np.append(nuisance.gradient, slope), np.linalg.inv(whole))
