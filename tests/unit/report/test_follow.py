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
    counts = sinogram(events(0, 92), SCANNER, 4, 60.0, 3)
    assert counts[2, 1] == 1 and counts.sum() == 1


def test_swapping_the_crystals_changes_nothing():
    rng = np.random.default_rng(1)
    for column1, column2 in rng.integers(0, 184, (50, 2)):
        there, back = (
            sinogram(events(*pair), SCANNER, 7, 130.0, 9)
            for pair in ((column1, column2), (column2, column1))
        )
        assert np.array_equal(there, back)
