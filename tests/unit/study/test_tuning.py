"""The choice among candidates: the one nearest to the validation slices."""

import numpy as np
import pandas as pd
import pytest

from tubepet.dataset.slices import Slices
from tubepet.errors import InputError
from tubepet.study import tuning

SCALE_BQ_MM3 = 500.0


def discs(num: int, blur: float, seed: int) -> np.ndarray:
    """Noisy discs of random radius, Bq/mm3."""
    rng = np.random.default_rng(seed)
    axis = np.arange(16) - 7.5
    distance = np.hypot(axis[:, None], axis[None, :])
    radius = rng.uniform(3, 6, (num, 1, 1))
    images = 1 / (1 + np.exp((distance - radius) / blur)) * rng.uniform(0.8, 0.9, (num, 1, 1))
    return (SCALE_BQ_MM3 * images).astype(np.float32)


def real_slices(images: np.ndarray, split: np.ndarray) -> Slices:
    rows = pd.DataFrame({"split": split, "tube": split})
    return Slices(images, rows, SCALE_BQ_MM3, pixel_mm=0.5, slice_mm=1.0)


def test_images_like_the_real_ones_are_nearer_than_blurred_ones() -> None:
    split = np.array(["train"] * 60 + ["val"] * 40 + ["test"] * 20)
    images = np.concatenate([discs(100, 0.3, 0), np.zeros((20, 16, 16), np.float32)])
    real = real_slices(images, split)
    alike, blurred = (tuning.judge(discs(50, blur, 1), real, 1) for blur in (0.3, 2.0))
    # the test slices are empty: a word of them would make the floor as far as the blurred images
    assert alike["frechet"] < 2 * alike["floor"] + 1 < blurred["frechet"] / 10
    assert blurred["floor"] == alike["floor"]
    nothing = tuning.judge(np.empty((0, 16, 16), np.float32), real, 1)
    assert nothing["frechet"] is None and nothing["floor"] > 0


def test_the_nearest_is_chosen_and_a_diverged_one_never() -> None:
    assert tuning.choose("a", [{"frechet": f} for f in (None, 3.0, 2.0, 2.0)]) == 2
    with pytest.raises(InputError, match=r"study\.variants\.a\.candidates: all 2 diverged"):
        tuning.choose("a", [{"frechet": None}] * 2)


def test_without_validation_slices_there_is_no_choice() -> None:
    split = np.array(["train"] * 8 + ["test"] * 8)
    real = real_slices(discs(16, 0.3, 0), split)
    with pytest.raises(InputError, match=r"reconstruct\.split: got 0 validation slices"):
        tuning.judge(discs(4, 0.3, 1), real, 1)
