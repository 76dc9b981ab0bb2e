"""The best possible test: that of a defect of known shape and place.

No observer of the same events has a larger expected z for a small defect (Neyman and Pearson). So
this is the limit to compare a search over places and shapes with.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tubepet.inspect.fit import Fitted, beside
from tubepet.inspect.part import Part
from tubepet.inspect.score import LEAST_CHANGE
from tubepet.reconstruct.problem import Instrument, Measurement
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.projection.line_blur import CORE, EDGES, TAIL, amid_zeros
from tubepet.types import Volume

Array = NDArray[np.float64]

LEAST_ROOT = 1e-9  # of a defect that changes nothing
NUM_ROUNDS = 2  # of fits beside the defect


def known_z(
    fitted: Fitted, measured: Measurement, drawn: Part, made: Part, instrument: Instrument,
    stride: int,
) -> tuple[float, float]:  # fmt: skip
    """Return z of a defect of known shape and place in these events, and its mean.

    The statistic is sum_i d_i / l_i minus the change of all counts, with l_i the rate of the line
    of event i without the defect and d_i its change. It is linear in the events. Activity and pose
    are those that are fitted beside the defect: without it, a large void is less activity, and z
    comes out too large.

    Parameters
    ----------
    fitted : Fitted
        Fit of the part without the defect to these events.
    measured : Measurement
        The events.
    drawn, made : Part
        Without and with the defect, on one grid.
    stride : int
        `stride` of `sensitivity.attenuated_sensitivity`, that of the fit.
    """
    seen = weakened(fitted, measured.duration_s, drawn, made, instrument, stride)
    change, slope = _change_and_slope(fitted, drawn, made, seen)
    for _ in range(NUM_ROUNDS):
        fitted = beside(fitted, drawn, (change / fitted.rates)[fitted.rows], slope)
        change, slope = _change_and_slope(fitted, drawn, made, seen)
    slope, root = _slope_and_root(fitted, change[fitted.rows], slope)
    return slope / max(root, LEAST_ROOT), root


class Weakened(NamedTuple):
    """How a defect weakens photons; it depends neither on activity nor on pose.

    Attributes
    ----------
    left : float64 array, shape (nz, ny, nx)
        Share of photon pairs from each voxel that the defect lets through.
    on_lines : float64 array, shape (n,)
        Relative change of the photons of the core on each line.
    of_cores : float64 array, shape (classes, nz, ny, nx)
        `left` of the core of each class of slopes.
    """

    left: Array
    on_lines: Array
    of_cores: Array


def weakened(
    fitted: Fitted, duration_s: float, drawn: Part, made: Part, instrument: Instrument, stride: int
) -> Weakened:
    """Return how a defect weakens photons; parameters as of `known_z`."""
    blur, before = fitted.line_blur, fitted.model.sensitivity_s
    seen = duration_s * sensitivity.attenuated_sensitivity(instrument, made.mu, stride)
    left = np.divide(seen, before, out=np.ones(seen.shape), where=before > 0)
    more_mu = Volume(made.mu.array.astype(np.float64) - drawn.mu.array, made.mu.grid)
    shadows, mu = blur.as_core(amid_zeros(more_mu)), amid_zeros(drawn.mu)
    of_cores = sensitivity.left_by_slope(instrument, blur.grid, mu, shadows, EDGES, stride)
    return Weakened(left, np.expm1(-blur.through(shadows)), of_cores)


def effect(fitted: Fitted, drawn: Part, made: Part, seen: Weakened) -> tuple[Array, float]:
    """Return how a defect changes the rate of each line (Bq/mm2), and all counts.

    Over the events of a part without the defect the sum of change over rate is the change of all
    counts. It must be that within some per cent of either part: the test is the difference of both.
    """
    activity = fitted.image_of(drawn)
    change, counts = _shadow(fitted, activity, seen)
    # all photons from inside the defect cross it, so its activity and its attenuation do not
    # change independently
    more = fitted.line_blur.blurred(seen.left * (fitted.image_of(made) - activity))
    change += fitted.line_blur.forward(more, np.arange(len(change)))
    return change, counts + float((fitted.line_blur.expected * more).sum())


def _change_and_slope(
    fitted: Fitted, drawn: Part, made: Part, seen: Weakened
) -> tuple[Array, float]:
    """Return the change of each rate, and T before anything is projected out."""
    change, counts = effect(fitted, drawn, made, seen)
    return change, float((change / fitted.rates).sum()) - counts


def _shadow(fitted: Fitted, activity: Array, seen: Weakened) -> tuple[Array, float]:
    """Return how the defect's attenuation alone changes rates and counts of the drawn activity.

    Photons of the core crossed the defect near their line. Those of the tail crossed it, or not, as
    all photons do on average.

    Parameters
    ----------
    activity : float64 array, shape (nz, ny, nx)
        Of the part without the defect, Bq/mm3.
    """
    blur = fitted.line_blur
    mean_left = float(np.average(seen.left, weights=fitted.model.sensitivity_s * activity))
    of_core = blur.blurred(activity)
    expected = blur.expected * of_core
    of_core[:, TAIL] = 0.0
    core = blur.forward(of_core, np.arange(len(fitted.trues)))
    change = core * seen.on_lines + (fitted.trues - core) * (mean_left - 1)
    counts = expected[:, TAIL].sum() * (mean_left - 1)
    counts += (expected[:, CORE] * (seen.of_cores - 1)).sum()
    return change, float(counts)


def _slope_and_root(fitted: Fitted, change: Array, slope: float) -> tuple[float, float]:
    """Return T and root of F (`score`) of a change of rates, with the fit projected out.

    The events hold the defect; a weight of 1 / (1 + change / rate) takes it out of F.
    """
    share = change / fitted.rates[fitted.rows]
    weights = fitted.weight / (1 + np.maximum(share, LEAST_CHANGE))
    cross = fitted.nuisance.shares @ (weights * share)
    taken = fitted.nuisance.inverse @ cross
    left = float(weights @ share**2 - cross @ taken)
    return slope - float(fitted.nuisance.gradient @ taken), math.sqrt(max(left, 0.0))
