"""The best possible test: that of a defect of known shape and place.

No observer of the same events has a larger expected z for a small defect (Neyman and Pearson). So
this is the limit to compare a search over places and shapes with.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tubepet.inspect.fit import Fitted, Response, blur_of
from tubepet.inspect.part import Part
from tubepet.inspect.score import LEAST_CHANGE
from tubepet.reconstruct.problem import Instrument, Measurement
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.projection.lines import Lines
from tubepet.types import Volume

Array = NDArray[np.float64]

LEAST_ROOT = 1e-9  # of a defect that changes nothing


def known_z(
    fitted: Fitted, measured: Measurement, drawn: Part, made: Part, instrument: Instrument,
    response: Response,
) -> tuple[float, float]:  # fmt: skip
    """Return z of a defect of known shape and place in these events, and its mean.

    The part with the defect has its own model of fluid, attenuation and sensitivity. The statistic
    is sum_i d_i / l_i minus the change of all counts, with l_i the rate of the line of event i
    without the defect and d_i its change. It is linear in the events, so its mean is exact for
    defects of any size.

    Parameters
    ----------
    fitted : Fitted
        Fit of the part without the defect to these events.
    measured : Measurement
        The events.
    drawn, made : Part
        Without and with the defect, on one grid.
    """
    lines, blur = fitted.model.lines, fitted.line_blur
    seen = sensitivity.attenuated_sensitivity(instrument, made.mu, response.sensitivity_stride)
    there = replace(measured, mu=made.mu)
    onto = Volume(made.on_image(fitted.grid), fitted.grid)
    with_it = blur_of(lines, onto, there, seen, instrument, response)
    before, after = blur.blurred(fitted.image_of(drawn)), with_it.blurred(fitted.image_of(made))
    more_mu = made.mu.array.astype(np.float64) - drawn.mu.array
    through = Lines(made.mu.grid, lines.points, lines.first, lines.second).forward(more_mu)
    trues = with_it.forward(after, np.arange(len(lines))) * np.exp(-through)
    change = trues - fitted.trues
    counts = float((with_it.expected * after).sum() - (blur.expected * before).sum())
    slope = float((change / fitted.rates).sum()) - counts
    slope, root = _slope_and_root(fitted, change[fitted.rows], slope)
    return slope / max(root, LEAST_ROOT), root


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
