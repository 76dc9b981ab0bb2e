import numpy as np
import pytest

from tubepet.reconstruct.scanner import lors
from tubepet.reconstruct.scanner.lors import Cylinder, Lors
from tubepet.types import Grid

SOURCE = Cylinder(9.0, -12.0, 12.0)


def test_chord_equals_the_sampled_length():
    rng = np.random.default_rng(0)
    for _ in range(50):
        distance, middle, slope = (
            rng.uniform(0, 10),
            rng.uniform(-20, 20),
            rng.choice([0, rng.uniform(0, 2)]),
        )
        way = np.linspace(-30, 30, 60001)
        z = middle + slope * way
        inside = (way**2 + distance**2 < 81) & (z > -12) & (z < 12)
        sampled = inside.sum() * (way[1] - way[0]) * np.sqrt(1 + slope**2)
        got = SOURCE.chord_mm(Lors(*map(np.array, (distance, middle, slope))))
        assert SOURCE.meets(Lors(*map(np.array, (distance, middle, slope)))) == inside.any()
        assert got == pytest.approx(sampled, abs=5e-3)  # two ends, a step of 1e-3 mm each


def test_enclosing_cylinder_reaches_the_corners_of_the_voxels():
    grid = Grid.centred((4, 5, 5), (2.0, 1.0, 1.0))
    marked = np.zeros(grid.shape, bool)
    marked[1, 2, 4] = True  # centre z = -1, y = 0, x = 2
    found = lors.enclosing_cylinder(marked, grid)
    assert found.radius_mm == pytest.approx(np.hypot(2.5, 0.5))
    assert (found.z_low_mm, found.z_high_mm) == (-2.0, 0.0)
    assert lors.enclosing_cylinder(marked & False, grid) == Cylinder(0.0, 0.0, 0.0)
