"""Locate a point or a line source from counts too few for an image.

With tens of counts an image is a bundle of lines. But a source of few parameters can be fitted by
maximum likelihood (as for one radioactive particle, e.g. Parker et al. 1993, Nucl. Instrum. Methods
A 326, 592). Its activity A (Bq) is spread over places p along a segment, or is at one place. LOR i
sees it as

    y_i / m_i = A mean_p exp(-d_i(p)^2 / (2 sigma^2)) / (2 pi sigma^2) + r_i / m_i

with d_i the distance of p from the line, sigma the resolution, and m_i, r_i as in `em`. The
log-likelihood is sum_events log(y_i / m_i) - A mean_p S(p), with S the expected counts per Bq. The
covariance is the inverse of the curvature of the log-likelihood at its maximum.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.optimize import minimize
from scipy.stats import chi2

from tubepet.constants import FWHM_PER_SIGMA
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.reconstruct.problem import Acquisition
from tubepet.reconstruct.projection.blur import smoothed
from tubepet.types import Grid

Vector = NDArray[np.float64]

MAX_LINES = 20_000  # beyond, make an image
SEARCH_MM = 2.0  # spacing of the places that are tried first
WIDE_MM = 3.0  # sigma of the search: the likelihood has one maximum per line without it
NUM_STARTS = 5
NUM_DIRECTIONS, LENGTHS_MM = 40, (5.0, 10.0, 20.0)
# How often noise alone may pass for a source.
FALSE_ALARMS = 0.01
MAX_LINE_POINTS = 40


@dataclass(frozen=True)
class Source:
    """A fitted source.

    Attributes
    ----------
    verdict : str
        ``point``, ``line`` or ``unresolved``.
    ends_mm : float64 array, shape (1, 3) or (2, 3)
        Place of a point, ends of a line (x, y, z), mm; empty if unresolved.
    activity_bq : float
    errors : float64 array
        Standard deviation of each coordinate (mm) in the order of `ends_mm`, then of the activity
        (Bq); empty if unresolved.
    likelihood_ratio : float
        Twice the gain in log-likelihood over scatter and randoms alone.
    needed_ratio : float
        The smallest ratio of a source.
    """

    verdict: str
    ends_mm: Vector
    activity_bq: float
    errors: Vector
    likelihood_ratio: float
    needed_ratio: float


def sentence(source: Source) -> str:
    """Say what was found, in words."""
    if source.verdict == "unresolved":
        return "unresolved: the counts do not support one point or line source"
    ends = " to ".join(
        "(" + ", ".join(f"{mm:.1f}" for mm in end) + ") mm" for end in source.ends_mm
    )
    return (
        f"a {source.verdict} source at {ends}, each coordinate +- {source.errors[:-1].mean():.1f} "
        f"mm, {source.activity_bq:.3g} +- {source.errors[-1]:.2g} Bq"
    )


def as_dict(source: Source) -> dict[str, Any]:
    """Return a source as plain data, with its sentence."""
    plain = {key: np.asarray(value).tolist() for key, value in vars(source).items()}
    return {**plain, "sentence": sentence(source)}


@dataclass(frozen=True)
class _Problem:
    starts_mm: Vector
    ways: Vector
    additive: Vector
    per_bq: Vector
    grid: Grid
    sigma_mm: float


def locate(model: Acquisition, fwhm_mm: float, smallest_additive: float = 1e-9) -> Source:
    """Fit one point source and one line source, and say which of them the counts support.

    Parameters
    ----------
    model : Acquisition
    fwhm_mm : float
        Resolution.
    smallest_additive : float
        Floor of r_i / m_i, Bq/mm2: no model excludes an event.

    Returns
    -------
    Source
        A line if that is likelier than a point by more than its three further parameters cost
        (Schwarz 1978, doi:10.1214/aos/1176344136). The better one counts only if its likelihood
        ratio exceeds a quantile of chi-square with one degree of freedom: that of `FALSE_ALARMS`
        over the number of places of size `fwhm_mm` in the image. Else the source is unresolved.

    Raises
    ------
    InputError
        If there are more than `MAX_LINES` events.
    """
    num, grid = len(model.lines), model.grid
    if num > MAX_LINES:
        raise InputError(f"sources: got {num} counts, expected at most {MAX_LINES}: make an image")
    volume_mm3 = np.prod(grid.shape) * grid.voxel_volume_mm3
    needed = float(chi2.isf(min(FALSE_ALARMS * fwhm_mm**3 / volume_mm3, FALSE_ALARMS), 1))
    problem = _problem(model, fwhm_mm, smallest_additive)
    if num < 4:  # fewer counts than parameters
        return Source("unresolved", np.empty((0, 3)), 0.0, np.empty(0), 0.0, needed)
    nothing = float(np.log(problem.additive).sum())
    point, point_fit = _best(problem, _point_starts(problem))
    line, line_fit = _best(problem, _line_starts(problem, point))
    is_line = 2 * (line_fit - point_fit) > 3 * np.log(num)
    best, fit = (line, line_fit) if is_line else (point, point_fit)
    gain = 2 * (fit - nothing)
    errors = _errors(problem, best)
    ends = best[:-1].reshape(-1, 3)
    verdict = "line" if is_line else "point"
    if gain <= needed or not np.isfinite(errors).all():
        verdict, ends, errors = "unresolved", np.empty((0, 3)), np.empty(0)
        best = np.array([-np.inf])
    log.info("%d counts: %s, likelihood ratio %.1f (needed %.1f)", num, verdict, gain, needed)
    return Source(verdict, ends, float(np.exp(best[-1])), errors, gain, needed)


def _problem(model: Acquisition, fwhm_mm: float, smallest_additive: float) -> _Problem:
    lines, grid = model.lines, model.grid
    starts = lines.points[lines.first]
    ways = lines.points[lines.second] - starts
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    additive = np.maximum(lines.additive, smallest_additive)
    # the sum of m_i times the Gaussian over all LORs
    per_bq = smoothed(model.sensitivity_s, grid, fwhm_mm) / grid.voxel_volume_mm3
    return _Problem(starts, ways, additive, per_bq, grid, fwhm_mm / FWHM_PER_SIGMA)


def _seen(problem: _Problem, places_mm: Vector) -> Vector:
    """Return the expected counts per Bq at places, shape (k,)."""
    index = [
        (places_mm[:, 2 - axis] - problem.grid.origin_mm[axis]) / problem.grid.voxel_mm[axis]
        for axis in range(3)
    ]
    return np.asarray(map_coordinates(problem.per_bq, index, order=1, mode="nearest"))


def _kernels(problem: _Problem, places_mm: Vector, sigma_mm: float) -> Vector:
    """Line integrals of unit sources at places, shape (n, k), 1/mm2."""
    away = places_mm[None] - problem.starts_mm[:, None]
    along = (away * problem.ways[:, None]).sum(axis=2)
    square = np.maximum((away**2).sum(axis=2) - along**2, 0.0)
    return np.asarray(np.exp(-square / (2 * sigma_mm**2)) / (2 * np.pi * sigma_mm**2))


def _places(problem: _Problem, ends_mm: Vector) -> Vector:
    """Points that stand for a source: itself, or equal steps of at most sigma along it."""
    if len(ends_mm) == 1:
        return ends_mm
    length_mm = float(np.linalg.norm(ends_mm[1] - ends_mm[0]))
    num = int(np.clip(np.ceil(length_mm / problem.sigma_mm), 4, MAX_LINE_POINTS))
    part = (np.arange(num) + 0.5)[:, None] / num
    return ends_mm[0] + part * (ends_mm[1] - ends_mm[0])


def _fit(problem: _Problem, parameters: Vector) -> float:
    """Log-likelihood of a source: its coordinates, then the log of its activity (Bq)."""
    places = _places(problem, parameters[:-1].reshape(-1, 3))
    activity = np.exp(parameters[-1])
    kernel = _kernels(problem, places, problem.sigma_mm).mean(axis=1)
    seen = float(_seen(problem, places).mean())
    return float(np.log(activity * kernel + problem.additive).sum() - activity * seen)


def _point_starts(problem: _Problem) -> list[Vector]:
    """Return the places of a coarse grid that explain the events best, with a wide kernel."""
    z, y, x = problem.grid.axes_mm()
    axes = [np.arange(a[0], a[-1] + SEARCH_MM / 2, SEARCH_MM) for a in (x, y, z)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    wide = max(WIDE_MM, problem.sigma_mm)
    scores, activities = np.empty(len(places)), np.empty(len(places))
    seen = np.maximum(_seen(problem, places), 1e-300)
    for part in np.array_split(np.arange(len(places)), max(1, len(places) // 256)):
        kernel = _kernels(problem, places[part], wide)
        # one EM step from an activity that would explain all counts
        activity = len(problem.additive) / seen[part]
        share = activity * kernel / (activity * kernel + problem.additive[:, None])
        activities[part] = np.maximum(share.sum(axis=0), 1e-3) / seen[part]
        density = activities[part] * kernel + problem.additive[:, None]
        scores[part] = np.log(density).sum(axis=0) - activities[part] * seen[part]
    best = np.argsort(scores)[::-1][:NUM_STARTS]
    return [np.append(places[i], np.log(activities[i])) for i in best]


def _line_starts(problem: _Problem, point: Vector) -> list[Vector]:
    """Segments of several directions and lengths through the best point."""
    turn = np.arange(NUM_DIRECTIONS) + 0.5
    cosine = turn / NUM_DIRECTIONS  # a half sphere, spiralled
    azimuth = np.pi * (1 + np.sqrt(5)) * turn
    sine = np.sqrt(1 - cosine**2)
    ways = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], axis=1)
    starts = [
        np.concatenate([point[:3] - way * length / 2, point[:3] + way * length / 2, point[3:]])
        for way in ways
        for length in LENGTHS_MM
    ]
    order = np.argsort([_fit(problem, start) for start in starts])[::-1]
    return [starts[i] for i in order[:NUM_STARTS]]


def _best(problem: _Problem, starts: list[Vector]) -> tuple[Vector, float]:
    found = [
        minimize(lambda p: -_fit(problem, p), start, method="BFGS", options={"gtol": 1e-3}).x
        for start in starts
    ]
    fits = [_fit(problem, parameters) for parameters in found]
    best = int(np.argmax(fits))
    return found[best], fits[best]


def _errors(problem: _Problem, parameters: Vector) -> Vector:
    """Root of the diagonal of the inverse curvature, by central differences; nan: not a maximum."""
    steps = np.append(np.full(len(parameters) - 1, 0.05 * problem.sigma_mm), 0.02)
    size = len(parameters)
    curvature = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            total = 0.0
            for a in (1, -1):
                for b in (1, -1):
                    moved = parameters.copy()
                    moved[i] += a * steps[i]
                    moved[j] += b * steps[j]
                    total += a * b * _fit(problem, moved)
            curvature[i, j] = -total / (4 * steps[i] * steps[j])
    try:
        variances = np.diag(np.linalg.inv(curvature)).copy()
    except np.linalg.LinAlgError:
        return np.full(size, np.nan)
    errors = np.sqrt(np.where(variances > 0, variances, np.nan))
    errors[-1] *= np.exp(parameters[-1])  # of the activity, from its logarithm's
    return errors
