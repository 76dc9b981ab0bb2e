"""Units and ranges against physics: what nothing has is refused, what is rare is said."""

import logging

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.reconstruct.scanner import checks
from tubepet.types import Grid, Volume

GRID = Grid.centred((20, 20, 20), (1.0, 1.0, 1.0))
ENDS_MM = np.array([[100.0, 0.0, 0.0], [-100.0, 0.0, 0.0]])


def block(value: float, voxel_mm: float = 1.0) -> Volume:
    """Return a block of one attenuation in air."""
    array = np.zeros(GRID.shape, np.float32)
    array[8:12, 8:12, 8:12] = value
    return Volume(array, Grid.centred(GRID.shape, (voxel_mm,) * 3))


@pytest.mark.parametrize(
    ("per_mm", "is_said"),
    # water, aluminium, steel, and water in 1/cm
    [(0.0096, False), (0.0227, False), (0.065, True), (0.096, True)],
)
def test_dense_maps_are_read_and_said(caplog, per_mm, is_said):
    with caplog.at_level(logging.WARNING, "tubepet"):
        checks.check_attenuation("--mu", block(per_mm), ENDS_MM, GRID)
    assert ("in 1/cm, divide it by 10" in caplog.text) == is_said


@pytest.mark.parametrize("per_cm", [0.227, 0.65, 9.6])
def test_attenuation_that_nothing_has_is_refused(per_cm):
    with pytest.raises(InputError, match=r"expected at most 0\.2 1/mm at 511 keV \(1/cm\?"):
        checks.check_attenuation("--mu", block(per_cm), ENDS_MM, GRID)


def test_a_map_in_metres_is_refused():
    with pytest.raises(InputError, match=r"got an object of 0\.004 mm, expected voxel sizes in mm"):
        checks.check_attenuation("--mu", block(0.01, 0.001), ENDS_MM, GRID)


@pytest.mark.parametrize("far", [1.1e5, -1e300, np.nan, np.inf])
def test_coordinates_are_bounded(far):
    ends_mm = ENDS_MM.copy()
    ends_mm[1, 2] = far
    with pytest.raises(InputError, match="expected at most 100000 mm"):
        checks.check_ends("l.csv", ends_mm, GRID)
