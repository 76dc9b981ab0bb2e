import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from tubepet.errors import InputError
from tubepet.reconstruct.projection import kernels, parallelproj
from tubepet.reconstruct.projection.lines import Lines, ParallelprojLines, tof_table
from tubepet.types import Grid


@pytest.fixture(params=["numba", "parallelproj"])
def kind(request):
    """Return a class of lines."""
    return Lines if request.param == "numba" else request.getfixturevalue("other")


@pytest.fixture
def other():
    """Return the lines of parallelproj, or skip."""
    try:
        parallelproj.load()
    except InputError as error:
        pytest.skip(str(error))
    return ParallelprojLines


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
def test_two_by_two_by_hand(kind, start, end, expected):
    image = np.array([[[A, B], [C, D]]])
    got = kind(SQUARE, line(start, end), FIRST, SECOND).forward(image)
    # kernels count in float32
    assert got[0] == pytest.approx(expected, rel=1e-6)


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
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_back_is_the_adjoint_of_forward(kind, shape, voxel_mm, seed):
    grid, rng = Grid.centred(shape, voxel_mm), np.random.default_rng(seed)
    lines = kind(grid, *random_lines(rng, grid, 200))
    x, y = rng.normal(size=shape), rng.normal(size=200)
    left, back = lines.forward(x) @ y, lines.back(y)
    # the same float32 weights on both sides; each product and sum rounds by 6e-8
    size = lines.forward(np.abs(x)) @ np.abs(y) + 1e-12
    assert abs(left - (x * back).sum()) < 1e-6 * size


def test_parity_with_sampling_by_scipy():
    """Sum of linear interpolations at the crossings of planes, by another implementation."""
    grid, rng = Grid.centred((7, 9, 11), (2.0, 1.0, 0.7)), np.random.default_rng(3)
    image = rng.uniform(size=grid.shape)
    points, first, second = random_lines(rng, grid, 300)
    got = Lines(grid, points, first, second).forward(image)
    origin, voxel = np.array(grid.origin_mm), np.array(grid.voxel_mm)
    for n in range(300):
        start, end = ((points[i, ::-1] - origin) / voxel for i in (first[n], second[n]))
        change = end - start
        axis = max((2, 1, 0), key=lambda a: abs(change[a]) * voxel[a])
        planes = np.arange(grid.shape[axis])
        way = (planes - start[axis]) / change[axis]
        way = way[(way >= 0) & (way <= 1)]
        at = start[:, None] + change[:, None] * way
        at[axis] = np.rint(at[axis])  # exactly on the plane
        values = map_coordinates(np.pad(image, 1), at + 1, order=1, mode="constant")
        # float32 coordinates: 1e-6 of a voxel
        step_mm = np.linalg.norm(points[second[n]] - points[first[n]]) / abs(change[axis])
        assert got[n] == pytest.approx(values.sum() * step_mm, rel=1e-5, abs=1e-5)


SIGMA_MM = 8.0


def test_time_of_flight_by_hand(kind):
    """One voxel of 1 at (20, 0, 0): the kernel's value at its distance from the measured place."""
    grid = Grid.centred((1, 1, 81), (1.0, 1.0, 1.0))
    image = np.zeros(grid.shape)
    image[0, 0, 60] = 1.0
    ends = (line((-100, 0, 0), (100, 0, 0)), FIRST, SECOND)
    nothing, table = np.zeros(1), tof_table(SIGMA_MM)

    def seen(points, first, second, tof_mm):
        times = np.array([tof_mm], np.float32), table
        return kind(grid, points, first, second, nothing, *times).forward(image)

    peak = 1 / (np.sqrt(2 * np.pi) * SIGMA_MM) / 0.9973002  # the part within three sigma
    for tof_mm, expected in [(20, peak), (12, peak * np.exp(-0.5)), (-20, 0.0), (45, 0.0)]:
        got = seen(*ends, tof_mm)
        # linear interpolation of the kernel: 2e-6 of its peak; theirs is normalised over planes
        tolerance = 3e-6 if kind is Lines else 1e-3
        assert got[0] == pytest.approx(expected, abs=tolerance * peak + 1e-9)
    # from the other end the same place has the other sign
    other = (ends[0], SECOND, FIRST)
    got = seen(*other, -20)
    assert got[0] == pytest.approx(peak, rel=1e-5 if kind is Lines else 1e-3)


def test_time_of_flight_is_adjoint_and_normalised(kind):
    grid, rng = Grid.centred((9, 40, 40), (1.5, 1.0, 1.0)), np.random.default_rng(4)
    angle = rng.uniform(0, 2 * np.pi, 400)
    points = np.stack([90 * np.cos(angle), 90 * np.sin(angle), rng.uniform(-6, 6, 400)], axis=1)
    first, second = np.arange(200), np.arange(200, 400)
    tof_mm = rng.normal(0, 10, 200).astype(np.float32)
    lines = kind(grid, points, first, second, np.zeros(200), tof_mm, tof_table(2.0))
    x, y = rng.normal(size=grid.shape), rng.normal(size=200)
    left, size = lines.forward(x) @ y, lines.forward(np.abs(x)) @ np.abs(y)
    assert abs(left - (x * lines.back(y)).sum()) < 1e-6 * size
    through = lines.forward(np.ones(grid.shape))
    # planes every 1 to 1.4 mm sample a sigma of 2 mm: 1e-3; some kernels reach out of the image
    assert through.max() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("tof", [False, True], ids=["plain", "tof"])
def test_parity_with_parallelproj(other, tof):
    """Line integrals, their adjoint, and a pass over a subset of events."""
    grid, rng = Grid.centred((20, 40, 40), (2.0, 1.5, 1.5)), np.random.default_rng(5)
    inner = (slice(2, -2),) * 3
    image = np.zeros(grid.shape)  # dark rim: see the module on lines that pass an image closely
    image[inner] = rng.uniform(size=image[inner].shape)
    angle, z_mm = rng.uniform(0, 2 * np.pi, 4000), rng.uniform(-60, 60, 4000)
    points = np.stack([100 * np.cos(angle), 100 * np.sin(angle), z_mm], axis=1)
    ends = (points, np.arange(2000), np.arange(2000, 4000))
    tof_mm = rng.normal(0, 20, 2000).astype(np.float32)
    times = (tof_mm, tof_table(SIGMA_MM)) if tof else ()
    # float32 on both sides; with time of flight their kernel ends at the plane beyond three sigma
    # and is normalised over planes, and its places are binned: 0.4 %, planes of a fifth of a sigma,
    # and 0.6 % where both steps come together
    tolerance = 1e-2 if tof else 1e-5

    def assert_near(got, expected):
        assert np.sqrt(((got - expected) ** 2).mean() / (expected**2).mean()) < tolerance

    values = rng.uniform(size=2000)
    own, theirs = (kind(grid, *ends, np.full(2000, 50.0), *times) for kind in (Lines, other))
    assert_near(own.forward(image), theirs.forward(image))
    assert_near(own.back(values)[inner], theirs.back(values)[inner])
    (got, counts), (expected, others) = (lines.em_sums(image, 1, 3) for lines in (own, theirs))
    assert_near(got[inner], expected[inner])
    assert_near(counts, others)


def test_a_missing_parallelproj_is_one_sentence(monkeypatch):
    monkeypatch.setenv("TUBEPET_PARALLELPROJ", "/nowhere/lib.so")
    lines = ParallelprojLines(SQUARE, line((-5, 0, 0), (5, 0, 0)), FIRST, SECOND)
    with pytest.raises(InputError, match=r"reconstruct\.backend: got parallelproj and /nowhere"):
        lines.forward(np.ones(SQUARE.shape))


def test_threads_do_not_change_a_bit():
    grid, rng = Grid.centred((8, 16, 16), (1.0, 1.0, 1.0)), np.random.default_rng(0)
    lines = Lines(grid, *random_lines(rng, grid, 20_001))
    images = []
    for num_threads in (1, 2):
        kernels.use_threads(num_threads)
        images.append(lines.back(np.ones(20_001) / 3).tobytes())
    assert images[0] == images[1]


@pytest.mark.parametrize("num_subsets", [1, 3])
def test_one_pass_is_projection_division_and_backprojection(num_subsets):
    """The subsets in turn; a line that nothing explains is left out."""
    grid, rng = Grid.centred((8, 16, 16), (1.0, 1.0, 1.0)), np.random.default_rng(0)
    points, first, second = random_lines(rng, grid, 5000)
    lines = Lines(grid, points, first, second, rng.uniform(0.1, 1.0, 5000))
    image = rng.uniform(size=grid.shape)
    lines.additive[lines.forward(image) == 0] = 0.0
    whole = lines.forward(image) + lines.additive
    assert (whole == 0).any()
    for subset in range(num_subsets):
        rows = np.arange(subset, 5000, num_subsets)
        sums, expected = lines.em_sums(image, subset, num_subsets)
        np.testing.assert_allclose(expected, whole[rows], rtol=1e-6)
        ratio = np.divide(1, expected, out=np.zeros(len(rows)), where=expected > 0)
        np.testing.assert_allclose(sums, lines.part(rows).back(ratio), rtol=1e-4, atol=1e-6)
