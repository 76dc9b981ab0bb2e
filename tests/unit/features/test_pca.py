"""PCA: by hand, against scikit-learn, invariances, too few data."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from tubepet.features.pca import fit_pca, scores, whitened
from tubepet.logs import log


@pytest.fixture(params=[(30, 200), (200, 30)], ids=["wide", "tall"])
def y(request):
    m, n = request.param
    rng = np.random.default_rng(0)
    return rng.standard_normal((m, n)) * np.geomspace(1, 0.01, n) + rng.standard_normal(n)


def test_by_hand():
    # points on the line (3, 4) t: one component of variance |(3, 4)|^2 var(t) = 25 * 1
    y = np.array([[7.0, 16.0], [10.0, 20.0], [13.0, 24.0]])
    pca = fit_pca(y, 2, "points")
    np.testing.assert_allclose(pca.mean, [10, 20])
    np.testing.assert_allclose(pca.components, [[0.6, 0.8]])
    np.testing.assert_allclose(pca.variance, [25])
    np.testing.assert_allclose(scores(y, pca), [[-5], [0], [5]], atol=1e-14)
    np.testing.assert_allclose(whitened(y, pca), [[-1], [0], [1]], atol=1e-15)


def test_equals_scikit_learn_up_to_sign(y):
    ours, theirs = fit_pca(y, 10, "y"), PCA(10, svd_solver="full").fit(y)
    # both are float64 SVDs of the same well-separated spectrum: rounding only
    np.testing.assert_allclose(np.abs(ours.components), np.abs(theirs.components_), atol=1e-10)
    np.testing.assert_allclose(ours.variance, theirs.explained_variance_, rtol=1e-10)
    np.testing.assert_allclose(ours.ratio[:10], theirs.explained_variance_ratio_, rtol=1e-10)
    np.testing.assert_allclose(np.abs(scores(y, ours)), np.abs(theirs.transform(y)), atol=1e-10)


def test_leading_direction_is_the_maximum_of_the_lagrangian(y):
    # eq. 5 with the minus sign (docs/model.md, A1): C u - lambda u = 0 at the top eigenvector
    pca = fit_pca(y, 1, "y")
    u, variance = pca.components[0], pca.variance[0]
    gradient = np.cov(y.T) @ u - variance * u
    assert np.abs(gradient).max() < 1e-12 < np.abs(np.cov(y.T) @ u + variance * u).max()


@given(st.integers(0, 10**6))
def test_components_are_orthonormal_and_signed(seed):
    y = np.random.default_rng(seed).standard_normal((8, 5))
    pca = fit_pca(y, 4, "y")
    np.testing.assert_allclose(pca.components @ pca.components.T, np.eye(4), atol=1e-12)
    assert (pca.components[np.arange(4), np.abs(pca.components).argmax(1)] > 0).all()
    mirrored = fit_pca(-y, 4, "y")  # the mirror image has the same axes, not mirrored ones
    np.testing.assert_allclose(mirrored.components, pca.components, atol=1e-9)
    np.testing.assert_allclose(whitened(y, pca).std(0, ddof=1), 1, rtol=1e-9)


def test_components_are_limited_to_what_the_data_carry(caplog):
    log.propagate = True
    caplog.set_level(logging.INFO, logger="tubepet")
    y = np.random.default_rng(0).standard_normal((6, 50))
    assert len(fit_pca(y, 48, "slices").components) == 5
    assert "PCA of slices: 5 components instead of 48, all that 6 observations" in caplog.text


@pytest.mark.parametrize("y", [np.zeros((5, 4)), np.full((5, 4), 0.3), np.full((1, 4), 0.3)])
def test_equal_observations_have_zero_scores(y):
    pca = fit_pca(y, 2, "slices")
    assert pca.components.shape == (1, 4) and not pca.ratio.any()
    assert not whitened(y, pca).any()


def test_no_observation_is_refused():
    with pytest.raises(ValueError, match="PCA of slices: got no observations"):
        fit_pca(np.ones((0, 4)), 2, "slices")
