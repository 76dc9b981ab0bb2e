"""The best possible test: that of a defect of known shape and place.

No observer of the same events has a larger expected z for a small defect (Neyman and Pearson). So
this is the limit to compare a search over places and shapes with.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tubepet.inspect.fit import Fitted, beside
from tubepet.inspect.part import Part
from tubepet.inspect.score import LEAST_CHANGE
from tubepet.reconstruct.problem import Instrument, Measurement
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.projection.line_blur import CORE, EDGES, TAIL, in_air
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
    for _ in range(NUM_ROUNDS):
        change, counts = effect(fitted, measured.duration_s, drawn, made, instrument, stride)
        slope = float((change / fitted.rates).sum()) - counts
        fitted = beside(fitted, drawn, (change / fitted.rates)[fitted.rows], slope)
    change, counts = effect(fitted, measured.duration_s, drawn, made, instrument, stride)
    slope = float((change / fitted.rates).sum()) - counts
    slope, root = _slope_and_root(fitted, change[fitted.rows], slope)
    return slope / max(root, LEAST_ROOT), root


def effect(
    fitted: Fitted, duration_s: float, drawn: Part, made: Part, instrument: Instrument, stride: int
) -> tuple[Array, float]:
    """Return how a defect changes the rate of each line (Bq/mm2), and all counts.

    Over the events of a part without the defect the sum of change over rate is the change of all
    counts. It must be that within some per cent of either part: the test is the difference of both.
    """
    seen = sensitivity.attenuated_sensitivity(instrument, made.mu, stride)
    before, seen = fitted.model.sensitivity_s, duration_s * seen
    left = np.divide(seen, before, out=np.ones(seen.shape), where=before > 0)
    activity = fitted.image_of(drawn)
    more_mu = Volume(made.mu.array.astype(np.float64) - drawn.mu.array, made.mu.grid)
    shadows = fitted.line_blur.as_core(in_air(more_mu))
    of_cores = sensitivity.left_by_slope(
        instrument, fitted.line_blur.grid, in_air(drawn.mu), shadows, EDGES, stride
    )
    change, counts = _shadow(fitted, activity, left, shadows, of_cores)
    # all photons from inside the defect cross it, so its activity and its attenuation do not
    # change independently
    more = fitted.line_blur.blurred(left * (fitted.image_of(made) - activity))
    change += fitted.line_blur.forward(more, np.arange(len(change)))
    return change, counts + float((fitted.line_blur.expected * more).sum())


def _shadow(
    fitted: Fitted, activity: Array, left: Array, shadows: list[Volume], of_cores: Array
) -> tuple[Array, float]:
    """Return how the defect's attenuation alone changes rates and counts of the drawn activity.

    Photons of the core crossed the defect near their line. Those of the tail crossed it, or not, as
    all photons do on average.

    Parameters
    ----------
    activity : float64 array, shape (nz, ny, nx)
        Of the part without the defect, Bq/mm3.
    left : float64 array, shape (nz, ny, nx)
        Share of photon pairs from each voxel that the defect lets through.
    shadows : list of Volume
        Change of the attenuation (1/mm) as the core of each class of slopes sees it.
    of_cores : float64 array, shape (classes, nz, ny, nx)
        `left` of the core of each class.
    """
    blur = fitted.line_blur
    mean_left = float(np.average(left, weights=fitted.model.sensitivity_s * activity))
    of_core = blur.blurred(activity)
    expected = blur.expected * of_core
    of_core[:, TAIL] = 0.0
    core = blur.forward(of_core, np.arange(len(fitted.trues)))
    change = core * np.expm1(-blur.through(shadows)) + (fitted.trues - core) * (mean_left - 1)
    counts = expected[:, TAIL].sum() * (mean_left - 1)
    for own, share in zip(expected[:, CORE], of_cores, strict=True):
        counts += (own * (share - 1)).sum()
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
