"""The learned feature space: what it learns, writing and reading it, and its tubes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_model

from tubepet.errors import InputError
from tubepet.evaluate import distances, learned, network

SIZE, NUM = 24, 120


def slices(seed: int) -> learned.Lessons:
    """Discs of twelve tubes; the radius and a hole (inclusion) are what can be learned."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    tubes = [f"tube_{i // 10:04d}" for i in range(NUM)]
    radius = {t: rng.uniform(5, 10) for t in sorted(set(tubes))}
    has_hole = np.arange(NUM) % 2 == 0
    images = np.stack([(np.hypot(x, y) < radius[t]) * 1.0 for t in tubes]).astype(np.float32)
    masks = has_hole[:, None, None] * (np.hypot(x - 2, y) <= 2.5)
    images[masks] = 0
    table = pd.DataFrame({"tube": tubes, "family": "round", "defect": "inclusion"})
    is_test = table["tube"].isin(["tube_0000", "tube_0001"])
    table["split"] = np.where(is_test, "test", "train")
    return learned.Lessons(images, images, masks, np.where(has_hole, -5.0, 0.0), table)


@pytest.fixture(scope="module")
def trained():
    lessons = slices(0)
    return lessons.images, *learned.train_space(lessons, 2.0, 80, seed=3)


def test_it_learns_what_it_is_for_on_tubes_it_never_saw(trained) -> None:
    _, _, facts = trained
    assert facts["num_slices"] == 100 and facts["num_checked"] == 20
    assert facts["defect_auc"] > 0.95
    assert facts["radius_error_px"] < 1.0  # the radii spread over 5 pixels: a guess errs by 1.3
    assert len(facts["tubes"]) == 12


def test_features_are_standardised_and_see_a_change(trained) -> None:
    images, space, _ = trained
    train = space.features(images[20:])
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-5)  # float32
    np.testing.assert_allclose(train.std(0), 1, atol=1e-5)
    again = slices(1).images
    other = distances.frechet(space.features(again * 0.5), train)
    assert other > 3 * distances.frechet(space.features(again), train)


def test_written_and_read_it_is_the_same_and_a_wrong_file_is_named(trained, tmp_path: Path) -> None:
    images, space, facts = trained
    save_model(space.net, str(tmp_path / "net.safetensors"))
    again = learned.load_space(tmp_path / "net.safetensors", facts)
    assert np.array_equal(again.features(images), space.features(images))
    save_model(network.SliceNet(2, 1), str(tmp_path / "other.safetensors"))
    with pytest.raises(
        InputError, match=r"other\.safetensors: expected the weights of the feature"
    ):
        learned.load_space(tmp_path / "other.safetensors", facts)


def test_shape_by_hand() -> None:
    fluid = np.zeros((2, 20, 20), np.float32)
    fluid[0, 4:8, 6:14] = 1  # 4 x 8 pixels
    fluid[1, 5:11, 5:11] = 1
    radius, elongation = learned.shape_of(fluid).T
    assert radius == pytest.approx(np.sqrt([32 / np.pi, 36 / np.pi]))
    # variance of n equal places: (n^2 - 1) / 12
    assert elongation == pytest.approx([np.sqrt(63 / 15), 1.0])
