import numpy as np

from tubepet.report.follow import sinogram
from tubepet.types import Listmode, Scanner

SCANNER = Scanner(4, 184, 125.0, 20.0, 4.0, 4.0, 4.2, 0.15, 300, (350, 650), 10, 60.0)


def events(column1: int, column2: int) -> Listmode:
    return Listmode(
        np.array([column1], np.int32), np.array([column2], np.int32), np.zeros(1), np.zeros(1, "u1")
    )


def test_a_line_through_the_axis_falls_in_the_middle():
    # crystals on +x and -x: the line is the x axis, its normal at 90 degrees, distance 0
    counts, edges_mm = sinogram(events(0, 92), SCANNER, 3)
    assert counts[46, 3] == 1 and counts.sum() == 1
    assert edges_mm[3] < 0 < edges_mm[4]


def test_bins_hold_the_true_distance():
    # columns 2 and 90 of 184: 135 mm x cos(pi 88 / 184) = 9.21 mm, column sum 92: 90 degrees
    counts, edges_mm = sinogram(events(2, 90), SCANNER, 10)
    ((row, column),) = np.argwhere(counts)
    assert row == 46 and edges_mm[column] < 135 * np.cos(np.pi * 88 / 184) < edges_mm[column + 1]


def test_swapping_the_crystals_changes_nothing():
    rng = np.random.default_rng(1)
    for column1, column2 in rng.integers(0, 184, (50, 2)):
        there, back = (
            sinogram(events(*pair), SCANNER, 92)[0]
            for pair in ((column1, column2), (column2, column1))
        )
        assert np.array_equal(there, back)
