"""Comparison of volumes: power and correlation by hand, folds by tube, stacked slices are told."""

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter

from tubepet.dataset.slices import Slices
from tubepet.errors import InputError
from tubepet.evaluate import volumes

SHAPE = (16, 24, 24)


def tubes(num: int, seed: int, along: float = 1.3) -> np.ndarray:
    """Cylinders in noise that is correlated in three dimensions, units of the scale."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]] - 11.5
    inside = np.hypot(y, x) < rng.uniform(6, 9, (num, 1, 1, 1))
    noise = gaussian_filter(rng.normal(size=(num, *SHAPE)), (0, along, 1.3, 1.3))
    return (0.6 * inside * (1 + 0.2 * noise / noise.std())).astype("f")


def test_power_of_a_cosine_is_where_it_belongs() -> None:
    z = np.arange(16)
    wave = np.cos(np.pi * (z + 0.5) * 4 / 16)  # frequency 4 / (2 x 16) per slice
    volume = np.broadcast_to(wave[:, None, None], (1, *SHAPE)).astype("f")
    frequency, power = volumes.axial_power(volume, slice_mm=2.0)
    assert frequency[4] == pytest.approx(4 / (2 * 16 * 2.0))
    assert power[0, 4] == pytest.approx(8.0, rel=1e-5)  # 16 cos^2: half of 16; float32
    assert np.delete(power[0], 4).max() < 1e-10


def test_correlation_by_hand() -> None:
    # a column 1, -1, 1, -1, ..: neighbours are opposite, the second next alike
    column = np.where(np.arange(16) % 2, -1.0, 1.0)
    volume = np.broadcast_to(column[:, None, None], (1, *SHAPE)).astype("f")
    found = volumes.axial_correlation(volume)[0]
    np.testing.assert_allclose(found, [-15 / 16, 14 / 16, -13 / 16, 12 / 16])
    assert np.isnan(volumes.axial_correlation(np.ones((1, *SHAPE), "f"))).all()


def test_alike_volumes_are_not_told_apart_and_others_are() -> None:
    real, alike, white = tubes(40, 0), tubes(40, 1), tubes(40, 2, along=0.3)
    ids = np.arange(40), 40 + np.arange(40)
    seen = [volumes.features(v) for v in (real, alike, white)]
    # 80 volumes: a standard deviation of 0.06
    assert volumes.two_sample(seen[1], seen[0], *ids, 0) == pytest.approx(0.5, abs=0.15)
    assert volumes.two_sample(seen[2], seen[0], *ids, 0) > 0.95


def test_volumes_of_a_tube_are_in_one_fold() -> None:
    """By volume, tubes that are seen again and again give themselves away."""
    rng = np.random.default_rng(0)
    own = np.repeat(rng.normal(size=(12, 30)), 8, axis=0)  # 12 tubes, 8 volumes each
    seen = own + 0.01 * rng.normal(size=own.shape)
    tube = np.repeat(np.arange(12), 8)
    fake, real = tube < 6, tube >= 6  # a tube is on one side, which means nothing
    by_tube = volumes.two_sample(seen[fake], seen[real], tube[fake], tube[real], 0)
    alone = np.arange(len(seen))
    by_volume = volumes.two_sample(seen[fake], seen[real], alone[fake], alone[real], 0)
    assert by_volume > 0.95 > 0.75 > by_tube


def test_fewer_tubes_than_folds_are_refused() -> None:
    some, few = np.zeros((8, 3)), np.repeat(np.arange(4), 2)
    with pytest.raises(InputError, match="got 4 fake tubes, expected at least 5, the number of f"):
        volumes.two_sample(some, some, few, np.arange(8), 0)


def real_slices(of: np.ndarray) -> Slices:
    num, depth = of.shape[:2]
    rows = pd.DataFrame({
        "tube": np.repeat([f"tube_{i:04d}" for i in range(num)], depth),
        "split": "test", "z_mm": np.tile(np.arange(depth, dtype=float), num),
    })  # fmt: skip
    return Slices(500 * of.reshape(-1, *of.shape[2:]), rows, 500.0, pixel_mm=0.5, slice_mm=1.0)


def test_the_table_gives_stacked_slices_away() -> None:
    real = real_slices(tubes(20, 0))
    alone = tubes(20, 3).reshape(-1, *SHAPE[1:])
    shuffled = 500 * np.random.default_rng(0).permutation(alone)
    found = volumes.table({"dcgan": shuffled}, {"surrogate": 500 * tubes(20, 4)}, real, 1)
    rows = found.set_index("model")
    assert list(found.columns) == list(volumes.COLUMNS)
    assert rows["is_stacked"].to_dict() == {
        "dcgan": True, "surrogate": False, volumes.HALVES: False,
    }  # fmt: skip
    assert rows.loc["dcgan", "c2st"] > 0.95 > 0.75 > rows.loc["surrogate", "c2st"]
    assert rows.loc["dcgan", "axial_factor"] > 2 > 1.5 > rows.loc["surrogate", "axial_factor"]
    assert rows.loc["surrogate", "correlation_1"] > 0.5 > 0.1 > rows.loc["dcgan", "correlation_1"]
    assert rows.loc[volumes.HALVES, "c2st"] == pytest.approx(0.5, abs=0.15)


def test_too_few_volumes_leave_an_empty_cell() -> None:
    few = volumes.table({}, {"surrogate": 500 * tubes(2, 4)}, real_slices(tubes(3, 0)), 1)
    assert few["c2st"].isna().all() and np.isfinite(few["axial_factor"]).all()
