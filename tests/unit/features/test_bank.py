"""The memory bank: standardised, equal to the result of `transform`, small data, files."""

from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure

from tubepet import io
from tubepet.dataset.stack import whole
from tubepet.features import bank, figures

SETTINGS = {
    "num_components": 6, "pcanet_filter_size": 3, "pcanet_num_filters": 3, "pcanet_num_blocks": 2,
    "pcanet_components": 5,
}  # fmt: skip


def tubes(num: int, seed: int) -> np.ndarray:
    """Return noisy discs of random radius and place in Bq/mm3, shape (num, 24, 24)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :24] - 11.5
    draws = rng.uniform([-2, -2, 4], [2, 2, 9], (num, 3))
    discs = np.array([np.hypot(x - a, y - b) < r for a, b, r in draws])
    return (600 * discs * rng.uniform(0.8, 1.2, discs.shape)).astype(np.float32)


def drawn(tensors, pca) -> tuple[Figure, ...]:
    return (
        figures.draw_scree(pca, 40),
        figures.draw_eigen_images(pca, 24, 0.5, 650.0, 17),
        figures.draw_filters(tensors["pcanet_first"], tensors["pcanet_second"]),
    )


@pytest.fixture(scope="module")
def fitted():
    fractions = whole(tubes(40, 0), 650.0).exact()
    return fractions, *bank.fit_bank(fractions, SETTINGS)


def test_bank_is_standardised_and_pca_scores_are_white(fitted):
    _, tensors, _ = fitted
    slots = tensors["bank"].astype(float)
    assert slots.shape == (40, 11) and tensors["bank"].dtype == np.float32
    # rounded to float32: 1e-7 of numbers of size 1, averaged
    np.testing.assert_allclose(slots.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(slots.std(0), 1, atol=1e-6)
    white = slots[:, :6].T @ slots[:, :6] / 40
    np.testing.assert_allclose(white, np.eye(6), atol=1e-5)


def test_transform_of_the_training_slices_is_the_bank(fitted):
    fractions, tensors, _ = fitted
    again = bank.transform(fractions, tensors, 2)
    # filters rounded to float32 move responses by 1e-7; a response that close to zero may flip a
    # bit of the hash, hence not every number is compared
    assert np.mean(np.abs(again - tensors["bank"]) < 1e-4) > 0.99


def test_new_slices_fall_among_the_old_ones(fitted):
    _, tensors, _ = fitted
    features = bank.transform(whole(tubes(30, 1), 650.0).exact(), tensors, 2)
    assert features.shape == (30, 11)
    assert 0.3 < features[:, 0].std() < 3  # the first component is size: as variable as before


def test_same_slices_same_bank(fitted):
    fractions, tensors, _ = fitted
    again, _ = bank.fit_bank(fractions, SETTINGS)
    assert all(np.array_equal(tensors[name], again[name]) for name in tensors)


def test_of_many_slices_some_are_fitted_and_all_get_a_slot(monkeypatch):
    monkeypatch.setattr(bank, "MAX_FITTED", 20)
    monkeypatch.setattr(io, "PIECE_BYTES", 7 * 24 * 24 * 4)  # seven slices at a time
    train = whole(tubes(50, 0), 650.0).of(np.arange(5, 46))  # 41
    tensors, pca = bank.make_bank(train, SETTINGS)
    fitted = np.arange(20) * 41 // 20
    some, pca_of_some = bank.fit_bank(train.of(fitted).exact(), SETTINGS)
    assert np.array_equal(pca.components, pca_of_some.components)
    assert tensors["bank"].shape == (41, 11)
    # see the test above: some bits of a hash may flip
    assert np.mean(np.abs(tensors["bank"][fitted] - some["bank"]) < 1e-4) > 0.99
    others = np.delete(tensors["bank"], fitted, axis=0)
    assert 0.5 < others.std() < 2  # slices that were not fitted are like the others


def test_few_slices_are_all_fitted():
    train = whole(tubes(40, 0), 650.0)
    tensors, _ = bank.make_bank(train, SETTINGS)
    same, _ = bank.fit_bank(train.exact(), SETTINGS)
    assert all(np.array_equal(tensors[name], same[name]) for name in same)


def test_few_slices_give_few_features():
    fractions = whole(tubes(4, 0), 650.0).exact()
    tensors, pca = bank.fit_bank(fractions, SETTINGS)
    assert tensors["bank"].shape == (4, 6)  # 4 slices carry 3 components, twice
    facts = bank.facts(tensors, pca)
    assert facts["num_slots"] == 4 and facts["num_pca_components"] == 3
    assert sum(facts["explained_variance_ratio"]) == pytest.approx(1)


def test_slices_without_a_count_still_make_a_bank_and_pictures():
    tensors, pca = bank.fit_bank(np.zeros((3, 24, 24)), SETTINGS)
    assert tensors["bank"].shape == (3, 2) and not tensors["bank"].any()
    for figure in drawn(tensors, pca):
        figure.savefig(BytesIO())


def test_figures_are_drawn(fitted):
    _, tensors, pca = fitted
    for figure, num_axes in zip(drawn(tensors, pca), (2, 12 + 2, 6 + 1), strict=True):
        assert len(figure.axes) == num_axes
