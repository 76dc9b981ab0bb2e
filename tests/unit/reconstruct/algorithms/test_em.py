import numpy as np
import pytest
from skimage.restoration import denoise_tv_chambolle

from tubepet.errors import InputError
from tubepet.reconstruct.algorithms import em, priors, stopping
from tubepet.reconstruct.projection import joseph
from tubepet.reconstruct.projection.blur import gaussian
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid

CUBE = Grid.centred((4, 5, 6), (2.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def model(scanner, grid):
    """Return a function: counts wanted -> lines of a disc, the sensitivity, the true image."""
    rng = np.random.default_rng(11)
    points = geometry.crystal_points_mm(scanner)
    first, second = rng.integers(0, scanner.num_crystals, (2, 400_000)).astype(np.int32)
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    truth = np.where((np.hypot(x, y) < 8) & (np.abs(z) < 7), 1.0, 0.0)
    truth[(np.hypot(x - 3, y) < 2) & (np.abs(z) < 7)] = 3.0
    blurred = em.smoothed(truth, grid, 2.0)
    sums = joseph.forward(blurred, grid, points, first, second)
    hits = joseph.forward(np.ones(grid.shape), grid, points, first, second) > 0
    first, second, sums = first[hits], second[hits], sums[hits]
    plain = joseph.back(np.ones(len(first)), grid, points, first, second)

    def make(num_counts, seed=0):
        scale = num_counts / sums.sum()
        draws = np.random.default_rng(seed).poisson(sums * scale)
        rows = np.repeat(np.arange(len(sums)), draws)
        lines = Lines(points, first[rows], second[rows], np.full(len(rows), 1e-3))
        return lines, plain * scale, truth

    return make


def run(model, num_counts, num_iterations, *prior, seed=0, grid=None):
    lines, sens, truth = model(num_counts, seed)
    start = np.full(truth.shape, 0.5)
    image, trace = em.iterate(lines, grid, sens, start, num_iterations, 1, gaussian(2.0), *prior)
    return image, trace, truth


def test_relative_differences_by_hand():
    image = np.ones(CUBE.shape)
    image[1, 2, 3] = 3.0
    # each neighbour: 2^2 / (1 + 3 + 2 * 2) = 1/2; two along z of half the weight, four others
    value, gradient, _ = priors.relative_differences(image, CUBE)
    assert value == pytest.approx(2 * 0.5 * 0.5 + 4 * 0.5)
    # d^2 / D at d = 2: 2 d/D - (d/D)^2 (1 + gamma) = 1/2 - 3/16
    assert gradient[1, 2, 3] == pytest.approx(5 * (0.5 - 3 / 16))
    assert priors.relative_differences(np.zeros(CUBE.shape), CUBE)[0] == 0
    assert priors.relative_differences(2 * image, CUBE)[0] == pytest.approx(2 * value)


def test_gradient_of_relative_differences_is_the_slope():
    rng = np.random.default_rng(0)
    image, way = rng.uniform(0.5, 2, CUBE.shape), rng.normal(size=CUBE.shape)
    step = 1e-6
    up, down = (priors.relative_differences(image + s * way, CUBE)[0] for s in (step, -step))
    _, gradient, _ = priors.relative_differences(image, CUBE)
    assert (up - down) / (2 * step) == pytest.approx((gradient * way).sum(), rel=1e-6)


def test_denoise_agrees_with_scikit_image():
    rng, cube = np.random.default_rng(1), Grid.centred((6, 9, 9), (1.0, 1.0, 1.0))
    image, weight = 5 + rng.normal(size=cube.shape), 0.3
    got = priors.denoise(image, np.full(cube.shape, weight), cube, np.zeros((3, *cube.shape)), 500)
    expected = denoise_tv_chambolle(image, weight=weight, eps=1e-12, max_num_iter=20000)
    # scikit-image projects without acceleration and normalises differently: 1e-3 of a noise of 1
    assert np.abs(got - expected).max() < 5e-3


def test_denoise_of_two_steps_by_hand():
    """Two plateaus of n voxels: each moves toward the other by weight / n."""
    row = Grid.centred((1, 1, 8), (1.0, 1.0, 1.0))
    image = np.array([1.0] * 4 + [3.0] * 4).reshape(row.shape)
    got = priors.denoise(image, np.full(row.shape, 0.8), row, np.zeros((3, *row.shape)), 500)
    assert np.allclose(got, image + np.repeat([0.2, -0.2], 4), atol=1e-6)


def test_map_never_falls_and_smooths(model, grid):
    image, trace, _ = run(model, 20_000, 25, "map_rdp", 1.0, grid=grid)
    assert (np.diff(trace["objective"]) >= 0).all()
    assert trace["objective"].iloc[-1] > trace["objective"].iloc[0]
    plain, _, _ = run(model, 20_000, 25, grid=grid)
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    flat = (np.hypot(x, y) < 5) & (np.hypot(x - 3, y) > 5) & (np.abs(z) < 5)
    assert image[flat].std() < 0.7 * plain[flat].std()
    assert image[flat].mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("algorithm", ["map_rdp", "tv"])
def test_no_strength_is_mlem(model, grid, algorithm):
    prior, _, _ = run(model, 5_000, 3, algorithm, 0.0, grid=grid)
    plain, _, _ = run(model, 5_000, 3, grid=grid)
    assert (prior == plain).all()
    # and a hair of it nearly
    prior, _, _ = run(model, 5_000, 3, algorithm, 1e-9, grid=grid)
    assert np.allclose(prior, plain, rtol=1e-4, atol=1e-6)


def test_tv_flattens(model, grid):
    image, _, _ = run(model, 20_000, 25, "tv", 0.1, grid=grid)
    plain, _, _ = run(model, 20_000, 25, grid=grid)
    assert priors.total_variation(image, grid) < 0.7 * priors.total_variation(plain, grid)
    # the totals stay: the denoising moves activity, it does not make any
    assert image.sum() == pytest.approx(plain.sum(), rel=0.05)


def test_priors_refuse_subsets(model, grid):
    lines, sens, truth = model(1_000)
    with pytest.raises(InputError, match="num_subsets: got 4 with algorithm tv, expected 1"):
        em.iterate(lines, grid, sens, truth + 1, 3, 4, gaussian(2.0), "tv", 0.1)


def test_fewer_events_stop_earlier(model, grid):
    found = []
    for num_counts in (1_000, 100_000):
        lines, sens, truth = model(num_counts)
        start = np.full(truth.shape, 0.5)
        fixed = (40, 1, gaussian(2.0), "mlem", 0.0, np.random.default_rng(3))
        found.append(stopping.best_iteration(lines, grid, sens, start, *fixed))
    assert 1 <= found[0] < found[1] <= 40


def test_bootstrap_agrees_with_repeated_measurements(model, grid):
    fixed = (5, 1, gaussian(2.0))
    images = []
    for seed in range(24):
        lines, sens, truth = model(20_000, seed)
        start = np.full(truth.shape, 0.5)
        images.append(em.iterate(lines, grid, sens, start, *fixed)[0])
    repeated = np.std(images, axis=0, ddof=1)
    lines, sens, truth = model(20_000, 99)
    rng = np.random.default_rng(5)
    got = stopping.error_image(lines, grid, sens, start, *fixed, "mlem", 0.0, 0.0, 24, rng)
    inside = em.smoothed(truth, grid, 3.0) > 0.9
    # both are good to 15 % per voxel; over many, neighbours correlated, to a few percent
    assert got[inside].mean() == pytest.approx(repeated[inside].mean(), rel=0.1)
