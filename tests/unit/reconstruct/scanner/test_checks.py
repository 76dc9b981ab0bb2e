"""Checks of units and ranges: impossible values are refused, rare ones give a warning."""

import logging

import numpy as np
import pytest

from tubepet.errors import InputError
from tubepet.reconstruct.projection.lines import Lines
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


@pytest.mark.parametrize(
    ("num", "background", "is_refused"),
    # noise and a tenth are allowed: without a source all events are background
    [(0, 0, False), (0, 20, False), (1000, 1000, False), (10_000, 11_500, False),
     (10_000, 12_000, True), (3080, 21_418, True), (0, 40, True)],
)  # fmt: skip
def test_a_background_above_the_events_is_refused(num, background, is_refused):
    if not is_refused:
        checks.check_background(num, background)
        return
    with pytest.raises(InputError, match=r"enlarge the image .* or shift the map"):
        checks.check_background(num, background)


def lines_through(places_mm: np.ndarray) -> Lines:
    """Return lines through places (x, y, z) in all directions across the axis."""
    turn = np.linspace(0, np.pi, len(places_mm), endpoint=False)
    ways = np.stack([np.cos(turn), np.sin(turn), 0 * turn], axis=1) * 100
    points = np.concatenate([places_mm - ways, places_mm + ways])
    first = np.arange(len(places_mm), dtype=np.int32)
    second = first + np.int32(len(places_mm))
    return Lines(GRID, points, first, second, np.zeros(len(first)))


# the block is 4 mm wide in the middle: within 5 mm of it is not beside it
@pytest.mark.parametrize(("shift_mm", "is_met"), [(0.0, True), (5.0, True), (9.0, False)])
def test_a_map_beside_the_events_is_refused(shift_mm, is_met, caplog):
    lines = lines_through(np.full((2000, 3), [0.0, 0.0, shift_mm]))
    for background in (0.0, 500.0, None):
        if is_met:
            checks.check_meets("--mu", block(0.01), lines, background)
            continue
        with pytest.raises(InputError, match=r"got 2000 of 2000 events beside .*: shift the map"):
            checks.check_meets("--mu", block(0.01), lines, background)
    assert not caplog.records


def test_background_may_lie_beside_the_object(caplog):
    """As much as is expected, and in an unknown amount half of all, which is said."""
    places = np.zeros((2000, 3))
    places[:1200, 2] = 9.0
    checks.check_meets("--mu", block(0.01), lines_through(places), 1100.0)
    with pytest.raises(InputError, match="expected at most 500 of background"):
        checks.check_meets("--mu", block(0.01), lines_through(places), 500.0)
    checks.check_meets("--mu", block(0.01), lines_through(places), None)
    assert "1200 of 2000 events beside" in caplog.text
    checks.check_meets("--mu", block(1e-9), lines_through(places), 0.0)  # no map, no object


@pytest.mark.parametrize("far", [1.1e5, -1e300, np.nan, np.inf])
def test_coordinates_are_bounded(far):
    ends_mm = ENDS_MM.copy()
    ends_mm[1, 2] = far
    with pytest.raises(InputError, match="expected finite numbers of at most 100000 mm"):
        checks.check_ends("l.csv", ends_mm, GRID)
