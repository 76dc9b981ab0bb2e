"""Fit the drawing of a part to a measurement: activity, place, turn and size of the fluid.

The fitted parameters (the pose and some errors of the calibration) are nuisances to the search: a
defect must not be mistaken for them. So their directions are projected out of every score
(`score`).
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from tubepet.inspect.part import Part, onto_image
from tubepet.logs import log
from tubepet.reconstruct.acquisition import model_known
from tubepet.reconstruct.problem import Acquisition, Instrument, Measurement, Settings
from tubepet.reconstruct.projection import line_blur
from tubepet.reconstruct.projection.line_blur import LineBlur
from tubepet.reconstruct.projection.response import Response, blur_of
from tubepet.types import Grid, Volume

Array = NDArray[np.float64]

NUM_ALONG = 7  # hat functions, from one end of the part to the other
# Fitted beside the activity: shift (mm), turn (degrees), and how much wider (all around) and longer
# (at both ends) the fluid is, mm. Then errors of a calibration: how much more the image is blurred
# (variance, mm2); how uneven it is along the axis, and by the square of the distance from it in
# `UNEVEN_MM`; and how much more scatter and randoms there are.
POSE = (
    "x_mm", "y_mm", "z_mm", "turn_x_deg", "turn_y_deg", "turn_z_deg", "wider_mm", "longer_mm",
    "blurred_across_mm2", "blurred_along_mm2", *(f"uneven_{i + 1}" for i in range(NUM_ALONG)),
    "uneven_across", "background",
)  # fmt: skip
NUM_PLACE, NUM_SHAPE, NUM_BLUR = 6, 8, 10
UNEVEN_MM = 10.0
# Standard deviations before the measurement, wide ones: what the counts cannot tell stays near 0.
PRIOR = np.array([
    *[2.0] * 3, *[3.0] * 3, *[1.0] * 2, 0.1, 0.2, *[0.02] * NUM_ALONG, 0.02, 0.05,
])  # fmt: skip
# Largest steps, the activity's first, relative: where the likelihood is no parabola, those of
# Newton's method may be too long.
MOST_STEP = np.array([
    0.3, *[1.0] * 3, *[2.0] * 3, 0.3, 0.5, 0.1, 0.2, *[0.05] * NUM_ALONG, 0.05, 0.1,
])  # fmt: skip
NUM_ROUNDS, FEW_ROUNDS = 12, 4  # the few do with the information at the start
MORE_DAMPED, MOST_TRIES = 4.0, 40  # if a step was too long
ENOUGH = 0.05  # of `MOST_STEP`: a smaller step ends the fit
LEAST_RATE = 1e-12  # Bq/mm2, of a line that sees nothing
LEAST_KNOWN = 1e-9  # information about the activity's logarithm, without events
ALONE = 1.001  # keeps the matrix invertible if two directions are the same
MARGIN_VOXELS = 8  # by which a drawing may be moved
# Variances and correlations come from at most so many lines, first derivatives from all.
MOST_ROWS = 32768
FEW_ROWS = 4096  # enough for the steps of the fit


class Nuisance(NamedTuple):
    """Fitted directions (activity, then `POSE`, then defects found), relative to expected rates.

    Attributes
    ----------
    shares : float64 array, shape (k, rows)
        Change of the rate of some events (`Fitted.rows`) over their rate, per unit.
    gradient : float64 array, shape (k,)
        Derivative of the logarithm of likelihood times prior; near 0 at the fit.
    inverse : float64 array, shape (k, k)
        Covariance of the fitted parameters, prior included.
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
        Lines, scatter and randoms, and the sensitivity.
    grid : Grid
        Grid of the image.
    line_blur : LineBlur
        Blur of the lines.
    activity_bq_mm3 : float
        Activity of the fluid.
    pose : dict
        Fitted values by `POSE`, relative to the drawing.
    errors : dict
        Their standard deviations.
    rates, trues : float64 array, shape (n,)
        Expected rate on the line of every event, Bq/mm2, with and without scatter and randoms.
    gradient : float64 array, shape (nz, ny, nx)
        On `LineBlur.grid`. After `LineBlur.sharing` it is the derivative of the log-likelihood by
        the activity in each voxel, mm3/Bq.
    rows : int64 array, shape (rows,)
        Some events, evenly taken, for variances and correlations.
    weight : float
        Number of events for which each of these stands.
    nuisance : Nuisance
        The fitted directions.
    """

    model: Acquisition
    grid: Grid
    line_blur: LineBlur
    activity_bq_mm3: float
    pose: dict[str, float]
    errors: dict[str, float]
    rates: Array
    trues: Array
    gradient: Array
    rows: NDArray[np.int64]
    weight: float
    nuisance: Nuisance

    def image_of(self, part: Part) -> Array:
        """Return the activity (Bq/mm3) of the part, or of one much like it, at the fitted pose."""
        pose = np.array([self.pose[name] for name in POSE])
        return self.activity_bq_mm3 * _images(part, self.grid, pose)[0]

    def moved(self, points_mm: Array) -> Array:
        """Move points (n, 3) of the drawing to the fitted pose."""
        turn, shift_mm = _turn(np.array([self.pose[name] for name in POSE]))
        return np.asarray(points_mm @ turn.T + shift_mm)


def fit(measured: Measurement, part: Part, instrument: Instrument, response: Response) -> Fitted:
    """Fit activity and pose by a damped Newton's method on the likelihood of all events.

    Parameters
    ----------
    measured : Measurement
        Its attenuation map is that of the drawing.

    Raises
    ------
    InputError
        As `acquisition.model_known`.
    """
    grid, stride = instrument.grid, response.sensitivity_stride
    drawn = Volume(part.on_image(grid), grid)
    instrument = replace(instrument, around=line_blur.around(grid))
    model, scale = model_known(measured, instrument, Settings(0, sensitivity_stride=stride), drawn)
    of_lines = blur_of(model.lines, drawn, measured.mu, measured.duration_s, instrument, response)
    state = _State(model, grid, of_lines, part, scale, np.zeros(len(POSE)))
    information, damping = state.directions(FEW_ROWS)[1], 0.0
    for i in range(NUM_ROUNDS):
        if i >= FEW_ROUNDS:  # it changes little on the way, but at many counts
            information = state.directions(MOST_ROWS)[1]
        state, length, damping = _climbed(state, information, damping)
        if length < ENOUGH:
            break
    result = state.fitted()
    log.info(
        "activity %.5g Bq/mm3; %s",
        result.activity_bq_mm3, ", ".join(f"{k} {v:.3g}" for k, v in result.pose.items()),
    )  # fmt: skip
    return result


def _climbed(state: "_State", information: Array, damping: float) -> tuple["_State", float, float]:
    """Take one step of Levenberg's and Marquardt's method.

    Returns
    -------
    state : _State
        One of a larger likelihood, or as near as `ENOUGH`.
    length : float
        Largest step over `MOST_STEP`, before it is damped.
    damping : float
        For the next step.
    """
    newton = np.linalg.solve(information, state.slope)
    allowed = 1.0
    for _ in range(MOST_TRIES):
        damped = information + damping * np.diag(MOST_STEP**-2)
        step = np.linalg.solve(damped, state.slope)
        length = float(np.abs(step / MOST_STEP).max())
        if length <= allowed:
            new = state.after(step)
            if new.log_likelihood >= state.log_likelihood or length < ENOUGH:
                full = float(np.abs(newton / MOST_STEP).max())
                return new, full, damping / MORE_DAMPED if damping > 1 else 0.0
            allowed = length / 2
        damping = max(MORE_DAMPED * damping, 1.0)
    return state, 0.0, damping  # no step is better


class _State:
    """The model of the drawing at a pose, and the gradient of its log-likelihood there."""

    def __init__(
        self, model: Acquisition, grid: Grid, of_lines: LineBlur, part: Part, scale: float,
        pose: Array,
    ) -> None:  # fmt: skip
        self.model, self.grid, self.of_lines, self.part = model, grid, of_lines, part
        self.scale, self.pose = scale, pose
        self.sharp = [scale * image for image in _images(part, grid, pose)]
        additive = (1 + pose[-1]) * model.lines.additive
        blurred = of_lines.blurred(self.sharp[0])
        self.trues = of_lines.forward(blurred, np.arange(len(additive)))
        self.rates = np.maximum(self.trues + additive, LEAST_RATE)
        over = of_lines.back(1 / self.rates) - of_lines.expected
        self.gradient = of_lines.gathered_but_shared(over)
        spread = line_blur.within(of_lines.sharing(self.gradient), grid.shape)
        self.known = np.concatenate([[LEAST_KNOWN], PRIOR**-2.0])
        counts = float((of_lines.expected * blurred).sum())
        counts += (1 + float(pose[-1])) * model.background_counts
        self.log_likelihood = float(np.log(self.rates).sum()) - counts
        self.log_likelihood -= float(self.known[1:] @ pose**2) / 2
        of_images = [float((image * spread).sum()) for image in self.sharp]
        of_background = float((model.lines.additive / self.rates).sum()) - model.background_counts
        self.slope = np.array([*of_images, of_background])
        self.slope -= self.known * np.concatenate([[0.0], pose])

    def after(self, step: Array) -> "_State":
        """Return the model after a step: of the activity, relative, and of the pose."""
        scale, pose = self.scale * (1 + float(step[0])), self.pose + step[1:]
        return _State(self.model, self.grid, self.of_lines, self.part, scale, pose)

    def directions(self, most: int) -> tuple[Array, Array]:
        """Return the fitted directions relative to the rates of some lines; the information."""
        rows, weight = some_rows(len(self.rates), most)
        changes = [self.trues[rows]]  # by the activity
        for image in self.sharp[1:]:
            changes.append(self.of_lines.forward(self.of_lines.blurred(image), rows))
        changes.append(self.model.lines.additive[rows])
        shares = np.array(changes) / self.rates[rows]
        information = weight * (shares @ shares.T) + np.diag(self.known)
        return shares, np.asarray(information, np.float64)

    def fitted(self) -> Fitted:
        """Return the result of the fit."""
        shares, information = self.directions(MOST_ROWS)
        inverse = np.asarray(np.linalg.inv(information), np.float64)
        errors = np.sqrt(np.diag(inverse))[1:]
        now, sure = (dict(zip(POSE, map(float, v), strict=True)) for v in (self.pose, errors))
        return Fitted(
            self.model, self.grid, self.of_lines, self.scale, now, sure, self.rates, self.trues,
            self.gradient, *some_rows(len(self.rates), MOST_ROWS),
            Nuisance(shares, self.slope, inverse),
        )  # fmt: skip


def some_rows(num: int, most: int) -> tuple[NDArray[np.int64], float]:
    """Take at most `most` rows evenly; return them, and for how many each stands."""
    rows = np.arange(0, num, max(math.ceil(num / most), 1))
    return rows, num / max(len(rows), 1)


def _images(part: Part, grid: Grid, pose: Array) -> list[Array]:
    """Fluid at a pose on the image's grid, and its derivatives by the numbers of the pose."""
    fluid = _moved_fluid(part.fluid, pose)
    fine = fluid.grid
    z, y, x = np.ix_(*(axis.astype(np.float32) for axis in fine.axes_mm()))
    sharp = fluid.array
    shapes = [*_along(part, z), (x**2 + y**2) / np.float32(UNEVEN_MM**2)]
    even = sharp * (1 + sum(float(p) * s for p, s in zip(pose[NUM_BLUR:-1], shapes, strict=True)))
    dz, dy, dx = np.gradient(even, *fine.voxel_mm)
    dzz, dyy, dxx = (
        np.gradient(d, mm, axis=i) / 2
        for i, (d, mm) in enumerate(zip((dz, dy, dx), fine.voxel_mm, strict=True))
    )
    blurs, degree = (dyy + dxx, dzz), math.pi / 180
    picture = even + sum(float(p) * b for p, b in zip(pose[NUM_SHAPE:NUM_BLUR], blurs, strict=True))
    changes = [
        -dx, -dy, -dz, degree * (z * dy - y * dz), degree * (x * dz - z * dx),
        degree * (y * dx - x * dy), np.hypot(dx, dy), np.abs(dz), *blurs,
        *(sharp * s for s in shapes),
    ]  # fmt: skip
    return [onto_image(Volume(array, fine), grid) for array in (picture, *changes)]


def _along(part: Part, z: NDArray[np.floating]) -> list[NDArray[np.float32]]:
    """Return hat functions along the axis, evenly from one end of the drawn fluid to the other."""
    places_mm = part.fluid.grid.axes_mm()[0][part.fluid.array.any(axis=(1, 2))]
    knots_mm = np.linspace(places_mm[0], places_mm[-1], NUM_ALONG)
    return [np.interp(z, knots_mm, one).astype(np.float32) for one in np.eye(NUM_ALONG)]


def _moved_fluid(drawn: Volume, pose: Array) -> Volume:
    """Shift, turn and widen a drawing on its own voxels, with a margin around it."""
    grid, margin = drawn.grid, MARGIN_VOXELS
    array = np.pad(drawn.array.astype(np.float32), margin)  # lines are followed in float32, too
    origin = [o - margin * d for o, d in zip(grid.origin_mm, grid.voxel_mm, strict=True)]
    wide = Grid(
        (array.shape[0], array.shape[1], array.shape[2]), grid.voxel_mm,
        (origin[0], origin[1], origin[2]),
    )  # fmt: skip
    if pose[:NUM_PLACE].any():
        turn, shift_mm = _turn(pose)
        back = turn.T[::-1, ::-1]  # axes z, y, x
        voxel_mm, first_mm = np.array(wide.voxel_mm), np.array(wide.origin_mm)
        matrix = back * voxel_mm / voxel_mm[:, None]
        offset = (back @ (first_mm - shift_mm[::-1]) - first_mm) / voxel_mm
        array = affine_transform(array, matrix, offset, order=1)
    if pose[NUM_PLACE:NUM_SHAPE].any():
        dz, dy, dx = np.gradient(array, *wide.voxel_mm)
        wider, longer = (float(one) for one in pose[NUM_PLACE:NUM_SHAPE])
        array = np.clip(array + wider * np.hypot(dx, dy) + longer * np.abs(dz), 0.0, 1.0)
    return Volume(array, wide)


def _turn(pose: Array) -> tuple[Array, Array]:
    """Rotation matrix and shift (x, y, z)."""
    return Rotation.from_rotvec(pose[3:6], degrees=True).as_matrix(), pose[:3]


def pose_beside(fitted: Fitted, nuisance: Nuisance) -> tuple[dict[str, float], dict[str, float]]:
    """Return pose and errors with further directions fitted beside them, by one step.

    A large pit looks like a bore that is wider, as long as there is only the drawing. Without
    further directions they are those of the fit.
    """
    of_others = nuisance.gradient.copy()
    of_others[: 1 + len(POSE)] = 0.0
    step, errors = nuisance.inverse @ of_others, np.sqrt(np.diag(nuisance.inverse))
    pose = {name: fitted.pose[name] + float(step[1 + i]) for i, name in enumerate(POSE)}
    return pose, {name: float(errors[1 + i]) for i, name in enumerate(POSE)}


def beside(fitted: Fitted, part: Part, shares: Array, slope: float) -> Fitted:
    """Return the model of the drawing, with activity and pose fitted beside a defect by one step.

    Parameters
    ----------
    shares, slope
        As of `extended`, of the defect.
    """
    more = extended(fitted.nuisance, shares, slope, fitted.weight)
    step = (more.inverse @ more.gradient)[: 1 + len(POSE)]
    step /= max(1.0, float(np.abs(step / MOST_STEP).max()))
    pose = np.array([fitted.pose[name] for name in POSE])
    scale = fitted.activity_bq_mm3 * (1 + float(step[0]))
    model, lines = fitted.model, fitted.line_blur
    return _State(model, fitted.grid, lines, part, scale, pose + step[1:]).fitted()


def extended(nuisance: Nuisance, shares: Array, slope: float, weight: float) -> Nuisance:
    """Add the direction of a defect that was found, perhaps where another was found before.

    Parameters
    ----------
    shares : float64 array, shape (rows,)
        As a row of `Nuisance.shares`.
    slope : float
        Derivative of the log-likelihood by its amplitude.
    weight : float
        `Fitted.weight`.
    """
    more = np.vstack([nuisance.shares, shares])
    known = np.linalg.inv(nuisance.inverse)
    across = weight * (nuisance.shares @ shares)
    own = ALONE * weight * float(shares @ shares)
    whole = np.block([[known, across[:, None]], [across[None, :], np.array([[own]])]])
    return Nuisance(more, np.append(nuisance.gradient, slope), np.linalg.inv(whole))
