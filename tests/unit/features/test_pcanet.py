"""PCANet: patches, responses, hash and histograms by hand; filters against scikit-learn."""

import numpy as np
import pytest
from scipy.ndimage import correlate
from sklearn.decomposition import PCA

from tubepet.features.pcanet import (
    block_histograms,
    fit_filters,
    fit_pcanet,
    hash_maps,
    histogram_features,
    patches,
    respond,
)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((6, 12, 12))


def test_patches_by_hand():
    # the corner of a 2 x 2 image sees 1, 2, 3, 4 and five padded zeros: mean 10 / 9
    rows = patches(np.array([[1.0, 2.0], [3.0, 4.0]]), 3)
    assert rows.shape == (4, 9)
    np.testing.assert_allclose(rows[0], np.array([0, 0, 0, 0, 1, 2, 0, 3, 4]) - 10 / 9)
    np.testing.assert_allclose(rows.sum(1), 0, atol=1e-14)


def test_responses_by_hand():
    image = np.zeros((3, 3))
    image[1, 1] = 9.0
    kernel = np.array([[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]])  # sums to 0: means drop out
    # correlation puts the kernel, turned by 180 degrees, around the bright pixel
    np.testing.assert_allclose(respond(image, kernel)[0], 9 * kernel[0, ::-1, ::-1], atol=1e-13)


def test_responses_equal_a_correlation(images):
    filters = fit_filters(images, 5, 3)
    for map_, kernel in zip(respond(images[0], filters), filters, strict=True):
        expected = correlate(images[0], kernel, mode="constant")
        # filters are orthogonal to the constant, so removing patch means changes rounding only
        np.testing.assert_allclose(map_, expected, atol=1e-12)


def test_filters_are_the_principal_components_of_the_patches(images):
    ours = fit_filters(images, 3, 4).reshape(4, 9)
    rows = np.concatenate([patches(image, 3) for image in images])
    # Chan et al. take eigenvectors of X X^T, about zero, not about the mean patch as PCA does;
    # symmetrised by -X the mean is zero and scikit-learn must agree
    theirs = PCA(4, svd_solver="full").fit(np.concatenate([rows, -rows])).components_
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-10)
    np.testing.assert_allclose(ours @ ours.T, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(ours.sum(1), 0, atol=1e-12)


def test_hash_by_hand():
    maps = np.array([[[1.0, -1.0, 0.0]], [[0.5, 0.5, -2.0]], [[3.0, -3.0, 1e-9]]])
    # bits (1, 2, 4): 1+2+4, 2, 4; exactly zero counts as not positive
    assert hash_maps(maps).tolist() == [[7, 2, 4]]


def test_histograms_by_hand():
    codes = np.array([[0, 0, 1, 3], [0, 2, 1, 3], [3, 3, 3, 3], [0, 1, 2, 3]])
    histograms = block_histograms(codes, 2, 4)
    assert histograms.tolist() == [
        [[3, 0, 1, 0], [0, 2, 0, 2]],
        [[1, 1, 0, 2], [0, 0, 1, 3]],
    ]


@pytest.mark.parametrize(("side", "num_blocks"), [(64, 4), (30, 4), (7, 3)])
def test_histograms_count_every_pixel_once(side, num_blocks):
    codes = np.random.default_rng(0).integers(0, 16, (side, side))
    histograms = block_histograms(codes, num_blocks, 16)
    assert histograms.sum() == side**2
    np.testing.assert_array_equal(histograms.sum((0, 1)), np.bincount(codes.ravel(), minlength=16))
    sizes = histograms.sum(2)
    assert sizes.min() >= (side // num_blocks) ** 2


def test_features_of_an_image(images):
    first, second = fit_pcanet(images, 3, 4)
    features = histogram_features(images[0], first, second, 2)
    assert features.shape == (4 * 2 * 2 * 16,)
    assert features.sum() == 4 * 12 * 12  # each of the four maps counts every pixel once


def test_empty_air_hashes_to_zero(images):
    first, second = fit_pcanet(images, 3, 4)
    features = histogram_features(np.zeros((12, 12)), first, second, 2).reshape(4, 4, 16)
    assert (features[:, :, 0] == 36).all()  # no noise of signs where there is nothing


def test_histograms_do_not_depend_on_the_activity_scale(images):
    first, second = fit_pcanet(images, 3, 4)
    # powers of two scale floating-point numbers exactly, so not even rounding differs
    one, four = (histogram_features(f * images[0], first, second, 2) for f in (1.0, 4.0))
    np.testing.assert_array_equal(one, four)
