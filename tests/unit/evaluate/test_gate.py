"""A feature space counts if it sees spoilt slices; images are cut to where tubes are."""

import tracemalloc

import numpy as np
import pytest

from tubepet.dataset.stack import whole
from tubepet.evaluate import gate, metrics, similarity, statistics, window
from tubepet.evaluate.gate import LEAST_AUC, SPOILT, gate_of

SIZE = 32


def tubes(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Four noisy slices of each round tube, in units of the scale, and their tubes."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    radii = np.repeat(rng.uniform(4, 11, num), 4)
    images = 0.5 * (np.hypot(x, y) < radii[:, None, None])
    images = images * (1 + 0.1 * rng.normal(size=images.shape))
    return images.astype(np.float32), np.repeat([f"{seed}-{i}" for i in range(num)], 4)


def looks(images: np.ndarray) -> np.ndarray:
    """Steepest step, noise, and the step in the middle: one number for each fault."""
    steps = np.abs(np.diff(images, axis=2)).max((1, 2))
    middle = images[:, SIZE // 2 - 2 : SIZE // 2 + 2, SIZE // 2 - 2 : SIZE // 2 + 2]
    seam = np.abs(images[:, :, SIZE // 2] - images[:, :, SIZE // 2 - 1]).sum(1)
    return np.column_stack([steps, middle.std((1, 2)), seam]).astype(np.float64)


def test_a_space_that_sees_all_faults_counts() -> None:
    found = gate_of(looks, tubes(20, 1), tubes(20, 2))
    assert found.is_passed and not list(found.sentences("x"))
    assert set(found.auc) == set(SPOILT) and min(found.auc.values()) >= LEAST_AUC
    assert found.as_json()["is_passed"] is True


@pytest.mark.parametrize(
    ("weight", "blind"), [([0, 1, 0], "torn"), ([0, 0, 0], "blurred, noisier, torn")]
)
def test_a_space_that_is_blind_does_not(weight: list[int], blind: str) -> None:
    def few_looks(images: np.ndarray) -> np.ndarray:
        return looks(images) * weight

    found = gate_of(few_looks, tubes(20, 1), tubes(20, 2))
    assert found.is_passed is False
    (sentence,) = found.sentences("x")
    assert sentence == f"x features do not see slices that are {blind}, so no claim rests on them"


def test_a_space_that_knows_tubes_by_heart_is_not_saved_by_it() -> None:
    """Folds are by tube: a number for each tube tells nothing of other tubes."""
    images, names = tubes(20, 1)
    known = {image.tobytes(): i for i, image in enumerate(images)}

    def by_heart(some: np.ndarray) -> np.ndarray:
        index = np.array([known.get(image.tobytes(), -1) // 4 for image in some])
        return (index[:, None] == np.arange(-1, 20)).astype(np.float64)[:, 1:]

    found = gate_of(by_heart, (images, names), tubes(20, 2))
    assert found.is_passed is False


def test_few_tubes_are_said() -> None:
    found = gate_of(looks, tubes(4, 1), tubes(20, 2))
    assert found.is_passed is None
    assert list(found.sentences("x")) == [
        "x features: too few tubes to test them, so no claim rests on them"
    ]


def test_the_window_is_the_centred_square_with_all_tubes() -> None:
    images = np.zeros((12, 20, 20), np.float32)
    names = np.repeat(["a", "b"], 6)
    images[:6, 4, 10], images[6:, 10, 11] = 0.5, 0.3  # 5.5 pixels above the middle
    images[0, 0, 0] = 0.5  # noise, in one of six slices
    found = window.window_of(whole(images, 1.0), names)
    assert found == slice(10 - 8, 10 + 8)  # 6 and 2 of margin
    empty = whole(np.zeros((2, 8, 8), np.float32), 1.0)
    assert window.window_of(empty, np.array(["a", "b"])) == slice(0, 8)
    cut = whole(images, 1.0).within(found, 0.4)[:]
    assert cut.shape == (12, 16, 16) and cut[1, 2, 8] == 0.5 and not cut[6:].any()


def test_slices_of_a_tube_are_in_one_fold() -> None:
    """Each tube has a look of its own; by slices a classifier would know it again."""
    rng = np.random.default_rng(0)
    own = np.repeat(rng.normal(size=(12, 8)), 10, axis=0)
    names = np.repeat(np.arange(12), 10)
    real = metrics.InSpace(own + 0.01 * rng.normal(size=own.shape), names)
    other = np.repeat(rng.normal(size=(12, 8)), 10, axis=0)
    fake = metrics.InSpace(other + 0.01 * rng.normal(size=other.shape), names)
    found = metrics._c2st(fake, real)["c2st_neighbours"]
    alone = (one._replace(tube=np.arange(120)) for one in (fake, real))
    assert metrics._c2st(*alone)["c2st_neighbours"] == 1.0
    assert found < 0.8


def test_neighbours_are_asked_about_all_tubes() -> None:
    """Few images against many slices, which lie tube by tube: the last half looks otherwise."""
    rng = np.random.default_rng(0)
    fake = metrics.InSpace(rng.normal(size=(100, 2)), np.arange(100))
    real = rng.normal(size=(400, 2)) + np.repeat([0, 100], 200)[:, None]
    found = metrics._c2st(fake, metrics.InSpace(real, np.repeat(np.arange(40), 10)))
    assert 0.6 < found["c2st_neighbours"] < 0.9  # half of the slices are told


def test_darkness_does_not_betray_spoilt_images() -> None:
    """Real images have none between 0 and the least grey, and what is blurred gets none either."""

    def darkness(images: np.ndarray) -> np.ndarray:
        return ((images > 0) & (images < window.DARK)).sum((1, 2))[:, None].astype(np.float64)

    found = gate_of(darkness, tubes(20, 1), tubes(20, 2))
    assert set(found.auc.values()) == {0.5}


def test_a_window_of_thin_tubes_has_room_for_all_metrics() -> None:
    images, names = np.zeros((8, 32, 32), np.float32), np.repeat(["a", "b"], 4)
    images[:, 15:17, 15:17] = 0.5
    cut = whole(images, 1.0).within(window.window_of(whole(images, 1.0), names), window.DARK)
    assert cut.shape == (8, 16, 16)
    assert np.isfinite(statistics.image_statistics(cut)).all()
    assert np.allclose(similarity.ms_ssim(cut[:], cut[:]), 1)


def test_the_window_holds_one_mean_at_a_time() -> None:
    """Thousands of tubes of 256 x 256 pixels would take gigabytes."""
    tracemalloc.start()
    images = whole(np.ones((400, 128, 128), np.uint8), 1.0)
    window.window_of(images, np.array([f"{i:03d}" for i in range(400)]))
    peak = tracemalloc.get_traced_memory()[1] - images.array.nbytes
    tracemalloc.stop()
    assert peak < 2e6  # all means: 26 MB, and again as one array


def test_spoilt_images_stay_in_range() -> None:
    images, _ = tubes(3, 0)
    for spoil in gate.SPOILT.values():
        made = spoil(images)
        assert made.shape == images.shape and 0 <= made.min() and made.max() <= 1
        assert not np.array_equal(made, images)
