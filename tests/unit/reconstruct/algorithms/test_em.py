from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from skimage.restoration import denoise_tv_chambolle

from tubepet.errors import InputError
from tubepet.reconstruct.algorithms import em, priors, stopping
from tubepet.reconstruct.problem import Acquisition, Settings
from tubepet.reconstruct.projection import blur, kernels
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import geometry
from tubepet.types import Grid

SETTINGS = Settings(num_iterations=5, psf=blur.gaussian(2.0))
CUBE = Grid.centred((4, 5, 6), (2.0, 1.0, 1.0))
COARSE = Grid.centred((4, 10, 10), (5.0, 2.4, 2.4))
NUM_COARSE = 400
ONES = np.ones(CUBE.shape)


@pytest.fixture(scope="module")
def model(scanner, grid):
    """Return a function: counts wanted -> the acquisition of a disc, the true image."""
    return disc(scanner, grid, 400_000)


def disc(scanner, grid, num_lines):
    rng = np.random.default_rng(11)
    points = geometry.crystal_points_mm(scanner)
    first, second = rng.integers(0, scanner.num_crystals, (2, num_lines)).astype(np.int32)
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    truth = np.where((np.hypot(x, y) < 8) & (np.abs(z) < 7), 1.0, 0.0)
    truth[(np.hypot(x - 3, y) < 2) & (np.abs(z) < 7)] = 3.0
    lines = Lines(grid, points, first, second)
    hits = np.flatnonzero(lines.forward(np.ones(grid.shape)) > 0)
    lines = Lines(grid, points, first[hits], second[hits], np.full(len(hits), 1e-3))
    sums = lines.forward(blur.smoothed(truth, grid, 2.0))
    plain = lines.back(np.ones(len(lines)))

    def make(num_counts, seed=0):
        scale = num_counts / sums.sum()
        draws = np.random.default_rng(seed).poisson(sums * scale)
        rows = np.repeat(np.arange(len(sums)), draws)
        return Acquisition(lines.part(rows), plain * scale, np.full(grid.shape, 0.5)), truth

    return make


def run(model, num_counts, num_iterations, algorithm="mlem", strength=0.0, **more):
    settings = replace(
        SETTINGS, num_iterations=num_iterations, algorithm=algorithm, prior_strength=strength,
        **more,
    )  # fmt: skip
    return em.iterate(model(num_counts)[0], settings)


def test_relative_differences_by_hand():
    image = np.ones(CUBE.shape)
    image[1, 2, 3] = 3.0
    # each neighbour: 2^2 / (1 + 3 + 2 * 2) = 1/2; two along z of half the weight, four others
    value, gradient, _ = priors.relative_differences(image, CUBE, ONES, 0.0)
    assert value == pytest.approx(2 * 0.5 * 0.5 + 4 * 0.5)
    # d^2 / D at d = 2: 2 d/D - (d/D)^2 (1 + gamma) = 1/2 - 3/16
    assert gradient[1, 2, 3] == pytest.approx(5 * (0.5 - 3 / 16))
    assert priors.relative_differences(np.zeros(CUBE.shape), CUBE, ONES, 0.0)[0] == 0
    assert priors.relative_differences(2 * image, CUBE, ONES, 0.0)[0] == pytest.approx(2 * value)
    # epsilon 2: 2^2 / (1 + 3 + 2 * 2 + 2); kappa 3 of the one voxel: each pair has it once
    assert priors.relative_differences(image, CUBE, ONES, 2.0)[0] == pytest.approx(0.8 * value)
    kappa = np.where(image > 1, 3.0, 1.0)
    assert priors.relative_differences(image, CUBE, kappa, 0.0)[0] == pytest.approx(3 * value)


def test_gradient_of_relative_differences_is_the_slope():
    rng = np.random.default_rng(0)
    image, way = rng.uniform(0.5, 2, CUBE.shape), rng.normal(size=CUBE.shape)
    kappa, step = rng.uniform(0.5, 2, CUBE.shape), 1e-6
    up, down = (
        priors.relative_differences(image + s * way, CUBE, kappa, 0.1)[0] for s in (step, -step)
    )
    _, gradient, _ = priors.relative_differences(image, CUBE, kappa, 0.1)
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
    image, trace = run(model, 20_000, 25, "map_rdp", 1.0)
    assert (np.diff(trace["objective"]) >= 0).all()
    assert trace["objective"].iloc[-1] > trace["objective"].iloc[0]
    plain, _ = run(model, 20_000, 25)
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    flat = (np.hypot(x, y) < 5) & (np.hypot(x - 3, y) > 5) & (np.abs(z) < 5)
    assert image[flat].std() < 0.7 * plain[flat].std()
    assert image[flat].mean() == pytest.approx(1, abs=0.1)


def test_kappa_by_matrices_of_a_few_lines(scanner):
    """kappa^2 = minus the row sums of the Hessian, over their mean in the early image."""
    acquisition, _ = disc(scanner, COARSE, 2_000)(300)
    objective = em.Objective(acquisition, Settings(1, psf=()))
    matrix = np.array(
        [acquisition.lines.forward(one.reshape(COARSE.shape)) for one in np.eye(NUM_COARSE)]
    ).T
    early = objective.early.ravel()
    expected = matrix @ early + acquisition.lines.additive
    curvature = (matrix.T * (1 / expected**2)) @ matrix @ np.ones(NUM_COARSE)
    mean = (early * curvature).sum() / early.sum()
    # the projector's kernels add in float32
    np.testing.assert_allclose(objective.kappa.ravel() ** 2, curvature / mean, rtol=1e-4)


def test_kappa_of_one_everywhere_is_the_prior_of_before(model, monkeypatch):
    """Relative differences of an even likelihood: each pair counts as in Nuyts' formula."""
    acquisition, _ = model(5_000)
    settings = replace(SETTINGS, algorithm="map_rdp", prior_strength=0.3)
    image = em.iterate(acquisition, SETTINGS)[0]
    monkeypatch.setattr(em.Objective, "kappa", np.ones(image.shape))
    monkeypatch.setattr(em, "EPSILON", 0.0)
    objective = em.Objective(acquisition, settings)
    total = 0.0
    for axis, weight in enumerate(priors.neighbour_weights(acquisition.grid)):
        a, b = np.delete(image, -1, axis), np.delete(image, 0, axis)
        total += weight * ((a - b) ** 2 / (a + b + 2 * np.abs(a - b) + 1e-300)).sum()
    fit, whole = objective(image)
    assert fit - whole == pytest.approx(objective.strength * total, rel=1e-9)


@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_converged_is_what_an_optimiser_finds(scanner, strength):
    """Of the same objective; gradient, bounds and steps of L-BFGS-B are its own."""
    kernels.use_threads(1)  # 400 voxels: threads only wait for each other
    acquisition, _ = disc(scanner, COARSE, 20_000)(5_000)
    settings = replace(SETTINGS, num_iterations=600, algorithm="map_rdp", prior_strength=strength)
    found, trace = stopping.to_convergence(acquisition, settings)
    assert 10 < len(trace) - 1 < 600 and (np.diff(trace["objective"]) >= 0).all()
    objective, lines = em.Objective(acquisition, settings), acquisition.lines

    def downhill(values):
        image = values.reshape(COARSE.shape)
        expected = lines.forward(blur.blurred(image, COARSE, settings.psf)) + lines.additive
        gradient = blur.blurred(lines.back(1 / expected), COARSE, settings.psf) - objective.seen
        gradient -= objective.strength * objective.prior(image)[1]
        return -objective(image, expected)[1], -gradient.ravel()

    best = minimize(
        downhill, acquisition.start.ravel(), jac=True, method="L-BFGS-B",
        bounds=[(1e-9, None)] * NUM_COARSE,
        options={"maxiter": 2000, "maxfun": 4000, "ftol": 1e-15, "gtol": 1e-6, "maxcor": 50},
    )  # fmt: skip
    # what `stopping` promises: 1 % of the mean; many more iterations come nearer, and the optimiser
    # has to be as near itself, on processors whose events differ in the last bits
    assert stopping._distance(best.x.reshape(COARSE.shape), found) < 0.01
    longer, trace = em.iterate(acquisition, settings)
    assert stopping._distance(best.x.reshape(COARSE.shape), longer) < 0.002
    assert trace["objective"].iloc[-1] == pytest.approx(-best.fun, abs=0.002)


def test_too_few_iterations_for_convergence_are_told(model, caplog):
    settings = replace(SETTINGS, num_iterations=14, algorithm="map_rdp", prior_strength=0.1)
    with caplog.at_level("INFO"):
        _, trace = stopping.to_convergence(model(5_000)[0], settings)
    assert len(trace) == 15
    assert "not converged after 14 iterations" in caplog.text and "num_iterations" in caplog.text


@pytest.mark.parametrize(("algorithm", "strength"), [("mlem", 0.1), ("tv", 0.1), ("map_rdp", 0.0)])
def test_what_never_converges_is_refused(model, algorithm, strength):
    settings = replace(SETTINGS, algorithm=algorithm, prior_strength=strength)
    with pytest.raises(InputError, match=f"got converged with algorithm {algorithm} .* map_rdp"):
        stopping.to_convergence(model(1_000)[0], settings)


def test_what_is_left_of_shrinking_steps_by_hand():
    """Steps of 1, 1/2, 1/4 ..: what is left is as long as the last one."""
    steps = list(0.5 ** np.arange(12))
    assert stopping._left(steps) == pytest.approx(steps[-1])
    assert stopping._left(steps[:5]) == float("inf")  # too few to know the rate
    assert stopping._left([0.1] * 20) == float("inf")  # they do not shrink
    assert stopping._left([*steps, 0.0]) == float("inf")  # stuck, which is no convergence
    image = np.array([0.0, 1.0, 3.0])
    # weighted with the activity: mean (1 + 9) / 4, square (1 x 0 + 3 x 1) / 4, air left out
    assert stopping._distance(image, image + np.array([9.0, 0, 1])) == pytest.approx(
        np.sqrt(0.75) / 2.5
    )


@pytest.mark.parametrize("algorithm", ["map_rdp", "tv"])
def test_no_strength_is_mlem(model, algorithm):
    prior, _ = run(model, 5_000, 3, algorithm)
    plain, _ = run(model, 5_000, 3)
    assert (prior == plain).all()
    # and a hair of it nearly
    prior, _ = run(model, 5_000, 3, algorithm, 1e-9)
    assert np.allclose(prior, plain, rtol=1e-4, atol=1e-6)


def test_tv_flattens(model, grid):
    image, _ = run(model, 20_000, 25, "tv", 0.1)
    plain, _ = run(model, 20_000, 25)
    assert priors.total_variation(image, grid) < 0.7 * priors.total_variation(plain, grid)
    # the totals stay: the denoising moves activity, it does not make any
    assert image.sum() == pytest.approx(plain.sum(), rel=0.05)


@pytest.mark.parametrize(
    ("algorithm", "num_subsets"), [("mlem", 1), ("mlem", 4), ("map_rdp", 1), ("tv", 1)]
)
def test_trace_tells_the_likelihood_of_every_image(model, algorithm, num_subsets):
    """Wherever the expected counts come from, they are those of that very image."""
    acquisition, _ = model(5_000)
    settings = replace(SETTINGS, algorithm=algorithm, prior_strength=0.1, num_subsets=num_subsets)
    seen = []

    def watch(image):
        seen.append(image.copy())
        return False

    last, trace = em.iterate(acquisition, settings, watch)
    fits = [em.Objective(acquisition, settings)(image) for image in [*seen, last]]
    np.testing.assert_allclose(trace[["log_likelihood", "objective"]], fits, rtol=1e-12)
    assert list(trace["iteration"]) == list(range(6))


def test_stopped_iterations_end_with_the_image_they_return(model):
    acquisition, _ = model(5_000)
    image, trace = em.iterate(acquisition, SETTINGS, lambda image: image.max() > 1.0)
    assert 0 < len(trace) - 1 < SETTINGS.num_iterations
    fit = em.Objective(acquisition, SETTINGS).log_likelihood(image)
    assert trace["log_likelihood"].iloc[-1] == pytest.approx(fit, rel=1e-12)


def test_threads_do_not_change_a_bit_of_image_or_trace(model):
    made = []
    for num_threads in (1, 2):
        kernels.use_threads(num_threads)
        image, trace = run(model, 20_000, 3)
        made.append((image.tobytes(), trace.to_numpy().tobytes()))
    assert made[0] == made[1]


def test_priors_refuse_subsets(model):
    with pytest.raises(InputError, match="num_subsets: got 4 with algorithm tv, expected 1"):
        run(model, 1_000, 3, "tv", 0.1, num_subsets=4)


def test_fewer_events_stop_earlier(model):
    settings = replace(SETTINGS, num_iterations=40)
    found = [
        stopping.best_iteration(model(num_counts)[0], settings, np.random.default_rng(3))
        for num_counts in (1_000, 100_000)
    ]
    assert 1 <= found[0] < found[1] <= 40


def test_bootstrap_agrees_with_repeated_measurements(model, grid):
    images = [em.iterate(model(20_000, seed)[0], SETTINGS)[0] for seed in range(24)]
    repeated = np.std(images, axis=0, ddof=1)
    acquisition, truth = model(20_000, 99)
    got = stopping.error_image(acquisition, SETTINGS, 24, np.random.default_rng(5))
    inside = blur.smoothed(truth, grid, 3.0) > 0.9
    # both are good to 15 % per voxel; over many, neighbours correlated, to a few percent
    assert got[inside].mean() == pytest.approx(repeated[inside].mean(), rel=0.1)
