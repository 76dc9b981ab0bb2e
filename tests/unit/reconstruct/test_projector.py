import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from tubepet.reconstruct import projector
from tubepet.types import Grid

FIRST, SECOND = np.array([0]), np.array([1])


def line(start, end):
    return np.array([start, end], dtype=np.float64)


SQUARE = Grid.centred((1, 2, 2), (1.0, 1.0, 1.0))  # pixel centres at +-0.5
A, B, C, D = 1.0, 10.0, 100.0, 1000.0  # [[A, B], [C, D]]: y = -0.5 holds A B, y = +0.5 holds C D


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        # along x through the lower row: A + B, 1 mm each
        ((-5, -0.5, 0), (5, -0.5, 0), A + B),
        # along x half-way between the rows: the mean of both rows
        ((-5, 0, 0), (5, 0, 0), (A + B + C + D) / 2),
        # backwards is the same line
        ((5, 0, 0), (-5, 0, 0), (A + B + C + D) / 2),
        # diagonal: hits A at x = -0.5 and D at x = 0.5, sqrt(2) mm per plane
        ((-5, -5, 0), (5, 5, 0), (A + D) * np.sqrt(2)),
        # along y at x = 0.25: a quarter of the left column, three quarters of the right one
        ((0.25, -5, 0), (0.25, 5, 0), 0.25 * (A + C) + 0.75 * (B + D)),
        # along z: one plane of 1 mm, bilinear in its middle
        ((0, 0, -5), (0, 0, 5), (A + B + C + D) / 4),
        # a quarter of a voxel above the only slice: 3/4 of the value
        ((-5, -0.5, 0.25), (5, -0.5, 0.25), 0.75 * (A + B)),
        # half a voxel outside the lower row: still half of its interpolation
        ((-5, -1, 0), (5, -1, 0), (A + B) / 2),
        # ends inside the image: only the plane at x = -0.5
        ((-5, -0.5, 0), (0.1, -0.5, 0), A),
        # misses
        ((-5, 3, 0), (5, 3, 0), 0.0),
        # no line
        ((1, 1, 0), (1, 1, 0), 0.0),
    ],
)
def test_two_by_two_by_hand(start, end, expected):
    image = np.array([[[A, B], [C, D]]])
    got = projector.forward(image, SQUARE, line(start, end), FIRST, SECOND)
    assert got[0] == pytest.approx(expected, rel=1e-12)


def random_lines(rng, grid, num):
    """Lines of all directions, many with ends inside the image or missing it."""
    reach = np.array([n * d for n, d in zip(grid.shape, grid.voxel_mm, strict=True)])[::-1]
    points = rng.uniform(-1.0, 1.0, (2 * num, 3)) * reach
    points[: num // 4] *= 0.3  # inside
    points[::7, 1] = points[0, 1]  # some exactly parallel to planes
    return points, np.arange(num), np.arange(num, 2 * num)


@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    voxel_mm=st.tuples(*[st.floats(0.3, 3.0)] * 3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25)
def test_back_is_the_adjoint_of_forward(shape, voxel_mm, seed):
    grid, rng = Grid.centred(shape, voxel_mm), np.random.default_rng(seed)
    points, first, second = random_lines(rng, grid, 200)
    x, y = rng.normal(size=shape), rng.normal(size=200)
    left = projector.forward(x, grid, points, first, second) @ y
    back = projector.back(y, grid, points, first, second)
    # both sides are sums of about 1e4 float64 terms: rounding 1e-16 * 1e4 relative to their size
    size = projector.forward(np.abs(x), grid, points, first, second) @ np.abs(y) + 1e-12
    assert abs(left - (x * back).sum()) < 1e-12 * size


def test_parity_with_sampling_by_scipy():
    """Sum of linear interpolations at the crossings of planes, by another implementation."""
    grid, rng = Grid.centred((7, 9, 11), (2.0, 1.0, 0.7)), np.random.default_rng(3)
    image = rng.uniform(size=grid.shape)
    points, first, second = random_lines(rng, grid, 300)
    got = projector.forward(image, grid, points, first, second)
    origin, voxel = np.array(grid.origin_mm), np.array(grid.voxel_mm)
    for n in range(300):
        start, end = ((points[i, ::-1] - origin) / voxel for i in (first[n], second[n]))
        change = end - start
        axis = max((2, 1, 0), key=lambda a: abs(change[a]))
        planes = np.arange(grid.shape[axis])
        way = (planes - start[axis]) / change[axis]
        way = way[(way >= 0) & (way <= 1)]
        at = start[:, None] + change[:, None] * way
        at[axis] = np.rint(at[axis])  # exactly on the plane
        values = map_coordinates(np.pad(image, 1), at + 1, order=1, mode="constant")
        step_mm = np.linalg.norm(points[second[n]] - points[first[n]]) / abs(change[axis])
        assert got[n] == pytest.approx(values.sum() * step_mm, rel=1e-9, abs=1e-9)


def test_threads_do_not_change_a_bit():
    grid, rng = Grid.centred((8, 16, 16), (1.0, 1.0, 1.0)), np.random.default_rng(0)
    points, first, second = random_lines(rng, grid, 1001)
    images = []
    for num_threads in (1, 2):
        projector.use_threads(num_threads)
        images.append(projector.back(np.ones(1001) / 3, grid, points, first, second).tobytes())
    assert images[0] == images[1]
