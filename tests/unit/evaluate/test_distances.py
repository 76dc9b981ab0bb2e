"""Distances between sets, against closed forms, counts by hand and other implementations."""

import numpy as np
import prdc as reference_prdc
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import energy_distance
from torchmetrics.image.fid import _compute_fid

from tubepet.dataset.symmetries import turned
from tubepet.evaluate import distances

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
Y = RNG.normal(size=(50, 4)) @ np.diag([1.0, 2.0, 0.5, 1.0]) + 1


def test_frechet_of_axis_aligned_gaussians_by_hand() -> None:
    # sample covariances diag(2, 2) and diag(8, 8), shift (3, 4): 25 + 2 (sqrt 2 - sqrt 8)^2 = 29
    cross = np.sqrt(3) * np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert distances.frechet(cross, 2 * cross + [3, 4]) == pytest.approx(25 + 4, rel=1e-12)


def test_frechet_equals_scipy_and_torchmetrics() -> None:
    cov_x, cov_y = np.cov(X, rowvar=False), np.cov(Y, rowvar=False)
    shift = X.mean(0) - Y.mean(0)
    closed = shift @ shift + np.trace(cov_x + cov_y - 2 * sqrtm(cov_x @ cov_y).real)
    ours = distances.frechet(X, Y)
    assert ours == pytest.approx(closed, rel=1e-9)  # float64 through another matrix root
    moments = (torch.from_numpy(a) for a in (X.mean(0), cov_x, Y.mean(0), cov_y))
    assert ours == pytest.approx(float(_compute_fid(*moments)), rel=1e-9)


def test_frechet_of_constant_sets_is_their_distance() -> None:
    assert distances.frechet(np.zeros((5, 3)), np.full((4, 3), 2.0)) == 12.0
    assert distances.frechet(np.zeros((5, 1)), np.zeros((5, 1))) == 0.0


def own(features: np.ndarray) -> np.ndarray:
    """Every row is of a tube of its own."""
    return np.arange(len(features))


def test_energy_by_hand_on_two_points() -> None:
    # x = {0, 1}, y = {1, 3}: between (1 + 3 + 0 + 2) / 4; within 1 and 2
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [3.0]])
    assert distances.energy(x, y, own(x), own(y)) == pytest.approx(2 * 1.5 - 1 - 2)


def test_energy_equals_scipy_in_one_dimension() -> None:
    """SciPy counts each point's distance from itself, which is 0, and takes the root."""
    x, y = X[:, 0], Y[:, 0]
    within = [np.abs(a[:, None] - a).sum() * (1 / len(a) ** 2 - 1 / len(a) / (len(a) - 1))
              for a in (x, y)]  # fmt: skip
    ours = distances.energy(x[:, None], y[:, None], own(x), own(y))
    assert ours - sum(within) == pytest.approx(energy_distance(x, y) ** 2, rel=1e-9)


def test_pairs_of_a_tube_do_not_count() -> None:
    """A tube's slices are alike: with them a set looks narrower than it is."""
    tubes = np.repeat(np.arange(30), 4)
    middles = RNG.normal(size=(30, 2))
    x = middles[tubes] + 0.01 * RNG.normal(size=(120, 2))
    y = RNG.normal(size=(200, 2))
    assert distances.energy(x, y, tubes, own(y)) < distances.energy(x, y, own(x), own(y))
    assert distances.energy(x, y, np.zeros(120, int), own(y)) is None
    found = distances.prdc(y, x, own(y), tubes, 3)["recall"]
    narrow = distances.prdc(y, x, own(y), own(x), 3)["recall"]
    assert found > 0.5 > 0.2 > narrow


def test_prdc_equals_the_authors_code(capsys: pytest.CaptureFixture[str]) -> None:
    expected = reference_prdc.compute_prdc(X, Y, nearest_k=5)
    ours = distances.prdc(X, Y, own(X), own(Y), 5)
    assert ours == pytest.approx(expected, abs=1e-12)  # counts over counts


def test_prdc_of_a_copy_is_perfect() -> None:
    values = distances.prdc(X, X.copy(), own(X), own(X), 5)
    assert values["precision"] == values["recall"] == values["coverage"] == 1


def test_nearest_training_sees_through_rotation_and_mirror() -> None:
    training = RNG.uniform(size=(6, 8, 8)).astype(np.float32)
    copies = np.stack([np.rot90(training[4]), training[2][:, ::-1], training[1].T])
    distance, index = distances.nearest_training(copies, training)
    assert index.tolist() == [4, 2, 1]
    assert np.array_equal(distance, np.zeros(3))


def brute_force(images, training, is_own=None):
    """Smallest root mean square difference over all training images and their symmetries."""
    turned = np.stack([np.rot90(training, k, axes=(1, 2)) for k in range(4)], axis=1)
    turned = np.concatenate([turned, turned[..., ::-1]], axis=1)
    every = np.square(images[:, None, None] - turned).mean((3, 4)).min(2)
    every = every if is_own is None else np.where(is_own, np.inf, every)
    return np.sqrt(every.min(1)), every.argmin(1)


@pytest.mark.parametrize("num_kept", [1, 8])  # 1: the first attempt leaves most in doubt
@pytest.mark.parametrize("blocks", [64, 3])  # 3: images of 6 pixels are seen by blocks of 2 first
def test_nearest_training_equals_brute_force_over_all_symmetries(
    num_kept: int, blocks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"CHUNK": 2, "NUM_PAIRS": 2, "BLOCKS": blocks, "NUM_KEPT": num_kept}.items():
        monkeypatch.setattr(distances, name, value)  # several pieces of both sets
    random = np.random.default_rng(1)  # its own stream: the order of the tests changes nothing
    training, images = random.uniform(size=(5, 6, 6)), random.uniform(size=(7, 6, 6))
    expected, index_expected = brute_force(images, training)
    distance, index = distances.nearest_training(images, training)
    assert index.max() > 2
    assert np.array_equal(index, index_expected)
    np.testing.assert_allclose(distance, expected, rtol=1e-12)


def test_nearest_training_of_another_tube() -> None:
    random = np.random.default_rng(2)
    training = random.uniform(size=(6, 8, 8))
    tubes = np.array(list("aabbcc"))
    distance, index = distances.nearest_training(training, training, (tubes, tubes))
    expected, index_expected = brute_force(training, training, tubes[:, None] == tubes)
    np.testing.assert_allclose(distance, expected, rtol=1e-12)
    assert np.array_equal(index, index_expected)
    alone, _ = distances.nearest_training(training[:2], training[:2], (tubes[:2], tubes[:2]))
    assert np.isinf(alone).all()


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1.0))
@settings(max_examples=20)
def test_bounds_lie_below_distances(seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    shape = random.uniform(size=(1, 128, 128))  # seen by blocks of 2
    images, training = (shape + noise * random.normal(size=(3, 128, 128)) for _ in range(2))
    own, theirs = distances.seen(images), distances.seen(training)
    assert own.blocks.shape == (3, 64, 64)
    bounds, pairs = distances._closest_bounds(own, theirs, None, 3 * 8 - 1)
    for bound, pair, image in zip(bounds, pairs, images, strict=True):
        nearest = np.stack([turned(training, p % 8)[p // 8] for p in pair])
        assert (bound <= np.square(image - nearest).sum((1, 2))).all()
