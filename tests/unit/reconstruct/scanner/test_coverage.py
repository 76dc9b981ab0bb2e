"""The extent of the activity is estimated from the lines of events alone."""

import logging

import numpy as np
import pytest

from tubepet.reconstruct.scanner import coverage
from tubepet.types import Grid

RADIUS_MM, HALF_MM = 130.0, 130.0  # of a detector


def lines(num: int, low: np.ndarray, high: np.ndarray, random_share: float = 0.0) -> tuple:
    """Draw lines from a box (x, y, z) to a cylinder, and random ones between its places."""
    rng = np.random.default_rng(4)
    places = rng.uniform(low, high, (4 * num, 3))
    turn, cosine = rng.uniform(0, np.pi, 4 * num), rng.uniform(-0.9, 0.9, 4 * num)
    ways = np.stack([np.cos(turn), np.sin(turn), cosine / np.sqrt(1 - cosine**2)], axis=1)
    along = (places[:, :2] * ways[:, :2]).sum(axis=1)
    reach = np.sqrt(along**2 + RADIUS_MM**2 - (places[:, :2] ** 2).sum(axis=1))
    ends = [places + (-along + sign * reach)[:, None] * ways for sign in (1, -1)]
    is_seen = (np.abs(ends[0][:, 2]) < HALF_MM) & (np.abs(ends[1][:, 2]) < HALF_MM)
    found = [end[is_seen][:num] for end in ends]
    for end in found:  # two singles of their own
        turn, is_random = rng.uniform(0, 2 * np.pi, len(end)), slice(int(random_share * len(end)))
        other = np.stack([RADIUS_MM * np.cos(turn), RADIUS_MM * np.sin(turn),
                          rng.uniform(-HALF_MM, HALF_MM, len(end))], axis=1)  # fmt: skip
        end[is_random] = other[is_random]
    return found[0], found[1]


BOXES = {
    "small": ([-5, -5, -5], [5, 5, 5]), "long": ([-8, -8, -40], [8, 8, 40]),
    "aside": ([12, -6, -20], [24, 6, 20]), "wide": ([-40, -30, -10], [40, 30, 10]),
    "shifted": ([-8, -8, 20], [8, 8, 60]),
}  # fmt: skip


@pytest.mark.parametrize("random_share", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("name", BOXES)
def test_the_box_of_the_activity_is_found(name, random_share):
    low, high = (np.array(corner, float) for corner in BOXES[name])
    found = coverage.extents_mm(*lines(60_000, low, high, random_share))
    # lines slope by up to 0.15: a bin, and 0.15 of the way from the axis
    for extent, axis in zip(found, (2, 1, 0), strict=True):
        slack_mm = 2 * coverage.BIN_MM + coverage.MAX_SLOPE * np.abs([low, high]).max()
        assert extent == pytest.approx((low[axis], high[axis]), abs=slack_mm)


def test_too_few_lines_say_nothing():
    assert coverage.extents_mm(*lines(30, np.array([-5.0] * 3), np.array([5.0] * 3))) == (None,) * 3
    nothing = np.empty((0, 3))
    assert coverage.extents_mm(nothing, nothing) == (None,) * 3


def test_an_image_grows_to_what_it_should_hold():
    grid = Grid.centred((32, 64, 64), (1.0, 0.5, 0.5))
    ends = np.array([[RADIUS_MM, 0.0, 0.0]])
    large = coverage.covering(grid, ((-40.0, 36.0), (-8.0, 8.0), None), ends)
    assert large == Grid.centred((84, 64, 64), (1.0, 0.5, 0.5))
    assert coverage.covering(grid, ((-10.0, 10.0), None, None), ends) == grid
    # not into the crystals, and not to a size that nobody asked for
    assert coverage.covering(grid, (None, None, (-130.0, 130.0)), ends) == grid
    assert coverage.covering(grid, ((-120.0, 120.0), (-99.0, 99.0), (-99.0, 99.0)), ends) == grid


@pytest.mark.parametrize(
    ("extent", "is_said"), [((-16.0, 20.0), False), ((-16.0, 22.0), True), ((-22.0, 3.0), True)]
)
def test_what_an_image_leaves_out_is_said(caplog, extent, is_said):
    grid = Grid.centred((32, 64, 64), (1.0, 0.5, 0.5))
    with caplog.at_level(logging.WARNING, "tubepet"):
        coverage.say_uncovered(grid, (extent, None, (-3.0, 3.0)))
    assert ("in z, the image goes from -16 to 16 mm" in caplog.text) == is_said
