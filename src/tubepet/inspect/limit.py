"""What could be found at best: the test of a defect whose shape and place are known.

No observer of the same events has a larger expected z for a small defect (Neyman and Pearson), so
this is the limit that a search over places and shapes is measured against.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tubepet.inspect.fit import Fitted
from tubepet.inspect.part import Part, onto_image
from tubepet.inspect.score import LEAST_CHANGE
from tubepet.reconstruct.projection.lines import Lines
from tubepet.types import Volume

Array = NDArray[np.float64]


def expected_z(fitted: Fitted, drawn: Part, made: Part) -> float:
    """Return the z that a known defect has on average: the root of Fisher's information.

    Fluid and attenuation change together. What looks like the fitted directions is taken away.

    Parameters
    ----------
    fitted : Fitted
        Of an acquisition of the part with the defect.
    drawn, made : Part
        Without and with the defect, on one grid.
    """
    lines = fitted.model.lines.part(fitted.rows)
    more_mu = made.mu.array.astype(np.float64) - drawn.mu.array
    through = Lines(drawn.mu.grid, lines.points, lines.first, lines.second).forward(more_mu)
    lost = fitted.trues[fitted.rows] * through
    rates = fitted.forward(fitted.line_blur.blurred(_change(fitted, drawn, made)), fitted.rows)
    return _slope_and_root(fitted, rates - lost, 0.0)[1]


def activity_z(fitted: Fitted, drawn: Part, made: Part) -> tuple[float, float]:
    """Return z of a known defect, of its activity alone, and what it is expected to be."""
    image, blur = _change(fitted, drawn, made), fitted.line_blur
    rates = fitted.forward(blur.blurred(image), fitted.rows)
    slope = float((blur.padded(image) * blur.sharing(fitted.gradient)).sum())
    slope, root = _slope_and_root(fitted, rates, slope)
    return slope / max(root, 1e-9), root


def _change(fitted: Fitted, drawn: Part, made: Part) -> Array:
    """Return the change of the image of the part, Bq/mm3."""
    fluid = made.fluid.array.astype(np.float64) - drawn.fluid.array
    return fitted.activity_bq_mm3 * onto_image(Volume(fluid, drawn.fluid.grid), fitted.grid)


def _slope_and_root(fitted: Fitted, change: Array, slope: float) -> tuple[float, float]:
    """Return T and root of F of a change of the rates of some lines, the fit projected out.

    The events hold the defect; a weight of 1 / (1 + change / rate) takes it out of F.
    """
    share = change / fitted.rates[fitted.rows]
    weights = fitted.weight / (1 + np.maximum(share, LEAST_CHANGE))
    cross = fitted.nuisance.shares @ (weights * share)
    taken = fitted.nuisance.inverse @ cross
    left = float(weights @ share**2 - cross @ taken)
    return slope - float(fitted.nuisance.gradient @ taken), math.sqrt(max(left, 0.0))
