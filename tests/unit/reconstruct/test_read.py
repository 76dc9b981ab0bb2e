"""What the reader of an acquisition makes of dead time."""

import numpy as np
import pytest

from tubepet.reconstruct import read
from tubepet.reconstruct.problem import Instrument
from tubepet.types import Volume


def test_efficiency_is_that_of_the_live_time(scanner, grid):
    """A tenth of the pulses lost are 19 % of the pairs, in the efficiency and in its image."""
    efficiency = np.full((scanner.num_columns // 2 + 1, scanner.num_rings), 0.3)
    plain = Instrument(scanner, efficiency, Volume(np.full(grid.shape, 2.0), grid, "note"))
    live = read._as_live(plain, 0.9)
    assert live.efficiency == pytest.approx(0.81 * efficiency)
    assert live.geometric.array == pytest.approx(0.81 * plain.geometric.array)
    assert (live.scanner, live.grid, live.geometric.note) == (scanner, grid, "note")
