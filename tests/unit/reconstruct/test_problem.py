import numpy as np
import pytest

from tubepet.reconstruct.problem import Acquisition, Settings
from tubepet.reconstruct.projection.lines import Lines, ParallelprojLines, tof_table
from tubepet.types import Grid

GRID = Grid.centred((2, 3, 3), (1.0, 1.0, 1.0))


def test_part_of_an_acquisition_has_some_events_and_a_share_of_the_time():
    """Rows may repeat; position and background stay with their line."""
    points = np.array([[-5.0, 0, 0], [5.0, 0, 0], [0, 5.0, 0]])
    first, second = np.array([0, 1, 0], np.int32), np.array([1, 2, 2], np.int32)
    additive, tof_mm = np.array([0.1, 0.2, 0.3]), np.array([1, 2, 3], np.float32)
    lines = Lines(GRID, points, first, second, additive, tof_mm, tof_table(2.0))
    model = Acquisition(lines, np.full(GRID.shape, 10.0), np.ones(GRID.shape))
    part = model.part(np.array([2, 0, 2]), 0.2)
    assert len(part.lines) == 3 and part.grid == GRID
    np.testing.assert_array_equal(part.lines.second, [2, 1, 2])
    np.testing.assert_array_equal(part.lines.additive, [0.3, 0.1, 0.3])
    np.testing.assert_array_equal(part.lines.tof_mm, [3, 1, 3])
    np.testing.assert_allclose(part.sensitivity_s, 2.0)
    np.testing.assert_array_equal(part.start, model.start)


@pytest.mark.parametrize(
    ("algorithm", "strength", "expected"),
    [("mlem", 0.1, False), ("tv", 0.0, False), ("tv", 0.1, True), ("map_rdp", 0.1, True)],
)
def test_a_prior_needs_an_algorithm_and_a_strength(algorithm, strength, expected):
    settings = Settings(1, algorithm=algorithm, prior_strength=strength)
    assert settings.has_prior is expected


def test_backend_chooses_the_projector():
    assert Settings(1).kind_of_lines is Lines
    assert Settings(1, backend="parallelproj").kind_of_lines is ParallelprojLines
