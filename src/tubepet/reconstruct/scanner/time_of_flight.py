"""Time of flight: from times to positions along a line.

With t1 and t2 the times at its first and second end, the position is c (t1 - t2) / 2 from the
middle toward the second end.
"""

import math

import numpy as np
from numpy.typing import NDArray

from tubepet.constants import FWHM_PER_SIGMA, MM_PER_NS
from tubepet.types import Scanner


def positions_mm(time_difference_ns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return positions of time differences t2 - t1, shape (n,)."""
    return -MM_PER_NS * time_difference_ns


def sigma_mm(scanner: Scanner) -> float:
    """Return the standard deviation of a position: two singles differ in time."""
    pair_ns = math.sqrt(2) * scanner.single_fwhm_ps * 1e-3 / FWHM_PER_SIGMA
    return MM_PER_NS * pair_ns


def reach_mm(scanner: Scanner) -> float:
    """Length over which the coincidence window spreads randoms, evenly: either may be first."""
    return 2 * MM_PER_NS * scanner.coincidence_window_ns
