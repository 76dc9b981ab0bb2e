"""Distances between sets, against closed forms, hand counts and other implementations."""

import numpy as np
import prdc as reference_prdc
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.metrics.pairwise import polynomial_kernel
from torchmetrics.image.fid import _compute_fid

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


def test_mmd_by_hand_on_two_points() -> None:
    # d = 1: k(0, 1) = 1, k(1, 1) = 8, k(0, 2) = 1, k(1, 2) = 27
    # x = {0, 1}: the pair gives 1; y = {1, 2}: 27; between: (1 + 1 + 8 + 27) / 4
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert distances.mmd_cubic(x, y) == pytest.approx(1 + 27 - 2 * 37 / 4)


def test_mmd_kernel_equals_sklearn() -> None:
    kxx, kyy, kxy = (
        polynomial_kernel(a, b, degree=3, gamma=1 / 4, coef0=1) for a, b in ((X, X), (Y, Y), (X, Y))
    )
    off = [k[~np.eye(len(k), dtype=bool)].mean() for k in (kxx, kyy)]
    assert distances.mmd_cubic(X, Y) == pytest.approx(sum(off) - 2 * kxy.mean(), rel=1e-9)


def test_prdc_equals_the_authors_code(capsys: pytest.CaptureFixture[str]) -> None:
    expected = reference_prdc.compute_prdc(X, Y, nearest_k=5)
    assert distances.prdc(X, Y, 5) == pytest.approx(expected, abs=1e-12)  # counts over counts


def test_prdc_of_a_copy_is_perfect() -> None:
    values = distances.prdc(X, X.copy(), 5)
    assert values["precision"] == values["recall"] == values["coverage"] == 1


def test_nearest_training_sees_through_rotation_and_mirror() -> None:
    training = RNG.uniform(size=(6, 8, 8)).astype(np.float32)
    copies = np.stack([np.rot90(training[4]), training[2][:, ::-1], training[1].T])
    distance, index = distances.nearest_training(copies, training)
    assert index.tolist() == [4, 2, 1]
    assert np.array_equal(distance, np.zeros(3))


def test_nearest_training_equals_brute_force_over_all_symmetries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distances, "CHUNK", 2)  # several pieces of both sets
    random = np.random.default_rng(1)  # its own stream: the order of the tests changes nothing
    training, images = random.uniform(size=(5, 6, 6)), random.uniform(size=(7, 6, 6))
    turned = [np.rot90(t, k) for t in training for k in range(4)]
    turned += [t[:, ::-1] for t in turned]
    expected = [min(np.sqrt(np.square(i - t).mean()) for t in turned) for i in images]
    distance, index = distances.nearest_training(images, training)
    assert index.max() > 2
    np.testing.assert_allclose(distance, expected, rtol=1e-12)
