"""The detector on separable slices, and with shuffled labels; how sets are labelled and drawn."""

import numpy as np
import pytest
import torch

from tubepet.evaluate import network
from tubepet.study import detector

STEPS = 60


def blobs(num: int, seed: int) -> detector.Labelled:
    """Noisy discs; half of them with a hole anywhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :24] - 11.5
    has_hole = np.arange(num) % 2 == 0
    images = np.tile((np.hypot(x, y) < 9).astype(np.float32), (num, 1, 1))
    masks = np.zeros(images.shape, np.uint8)
    for i in np.flatnonzero(has_hole):
        angle = rng.uniform(0, 2 * np.pi)
        masks[i] = np.hypot(x - 4 * np.cos(angle), y - 4 * np.sin(angle)) < 3
        images[i][masks[i] > 0] = 0
    noise = rng.normal(0, 0.05, images.shape)
    return detector.Labelled((images + noise).astype(np.float32), has_hole, masks)


def test_separable_slices_are_told_apart() -> None:
    found = detector.compare(blobs(60, 0), blobs(40, 1), blobs(60, 2), STEPS, seed=0)
    assert found.keys() == {"real", "real + generated", "generated"}
    assert min(found.values()) > 0.99


def test_shuffled_labels_teach_nothing() -> None:
    train, test = blobs(100, 0), blobs(200, 1)
    order = np.random.default_rng(2).permutation(100)
    shuffled = detector.Labelled(train.images, train.has_defect[order], train.masks[order])
    aucs = [detector.detector_auc([shuffled], test, STEPS, seed) for seed in range(3)]
    # one feature decides all 200 slices alike, so single AUCs swing; a mean of .8 would be a leak
    assert 0.1 < np.mean(aucs) < 0.8


def test_a_missing_class_has_no_auc() -> None:
    only = blobs(20, 0)
    rows = only.has_defect
    only = detector.Labelled(only.images[rows], only.has_defect[rows], only.masks[rows])
    assert detector.detector_auc([only], blobs(10, 1), 2, 0) is None


def test_labels_leave_out_what_no_image_can_show() -> None:
    images, masks = np.zeros((4, 2, 2), np.float32), np.ones((4, 2, 2), np.uint8)
    made = detector.labelled(images, masks, np.array([0, 0.1, 2.0, 9.0]), 2.0)
    assert made.has_defect.tolist() == [False, True, True]
    assert made.masks.any((1, 2)).tolist() == [False, True, True]  # outer thinning shows nothing


def test_sets_and_classes_are_drawn_equally_often() -> None:
    empty = np.zeros((10, 2, 2), np.float32)
    first = detector.Labelled(empty[:4], np.array([1, 0, 0, 0], bool), empty[:4])
    second = detector.Labelled(empty, np.arange(10) < 5, empty)
    whole, weights = detector.joined([first, second])
    assert weights[:4].sum() == pytest.approx(0.5) and weights[0] == pytest.approx(0.25)
    assert weights[whole.has_defect].sum() == pytest.approx(0.5)


def test_augmentation_moves_and_never_changes_intensities() -> None:
    image = torch.zeros(2, 1, 16, 16)
    image[:, :, 5:8, 6:9] = torch.arange(1.0, 10).reshape(3, 3)
    moved = network.augmented(image, torch.Generator().manual_seed(1))
    assert moved.shape == image.shape and not torch.equal(moved, image)
    assert torch.equal(moved.flatten(1).sort().values, image.flatten(1).sort().values)
