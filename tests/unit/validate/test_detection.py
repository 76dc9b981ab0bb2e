"""Numbers of the detection comparison, by hand; rule validate_detection makes the measurements."""

import numpy as np
import pandas as pd
import pytest

from tubepet.inspect.part import onto_image
from tubepet.types import Grid, Volume
from tubepet.validate import detection
from tubepet.validate.detection import KEYS, Case


def rows_of(changes: dict[float, list[float]], clean: list[float]) -> pd.DataFrame:
    """Rows of the default with some filters: changes with the defect by repeat, and without."""
    rows = [
        (*detection.REFERENCE[:4], filter_mm, "pit", has_defect, repeat, change, 0.3, 1.0, 0.1)
        for filter_mm, defects in changes.items()
        for has_defect, values in ((True, defects), (False, clean))
        for repeat, change in enumerate(values)
    ]
    names = [*KEYS, "defect", "has_defect", "repeat", "change", "nrmse", "activity", "noise"]
    return pd.DataFrame(rows, columns=names)


def test_contrast_to_noise_by_hand():
    """Means 10 and 4 over a variance of (1 + 4) / 2; twice the contrast, twice the ratio."""
    found = detection.summarise(
        rows_of({1.5: [9.0, 10.0, 11.0], 3.0: [15.0, 16.0, 17.0]}, [2.0, 4.0, 6.0])
    )
    first, second = found.iloc[0], found.iloc[1]
    assert first["cnr"] == pytest.approx(6 / np.sqrt(2.5)) == first["pit"]
    assert (first["cnr_ratio"], first["ratio_error"]) == (1, 0)
    assert second["cnr_ratio"] == pytest.approx(2)
    # leaving out one repeat of three: differences 6.5 - .., by hand for the first way
    estimates = [
        (np.mean(d) - np.mean(c)) / np.sqrt((np.var(d, ddof=1) + np.var(c, ddof=1)) / 2)
        for d, c in (([10, 11], [4, 6]), ([9, 11], [2, 6]), ([9, 10], [2, 4]))
    ]
    assert first["cnr_error"] == pytest.approx(np.std(estimates) * np.sqrt(2))


def test_error_is_the_scatter_of_repeated_studies():
    rng = np.random.default_rng(4)
    studies = [
        detection.summarise(rows_of({1.5: list(rng.normal(3, 1, 12))}, list(rng.normal(0, 1, 12))))
        for _ in range(50)
    ]
    ratios = np.array([study["cnr"][0] for study in studies])
    errors = np.array([study["cnr_error"][0] for study in studies])
    # 50 studies know their scatter to 10 %, with tails: such medians were found at 0.9 to 1.35
    assert np.median(errors) == pytest.approx(ratios.std(), rel=0.4)


def test_a_map_keeps_its_total_on_larger_voxels():
    fine = Grid.centred((6, 4, 4), (0.5, 0.5, 0.5))
    image = Grid.centred((5, 4, 6), (1.0, 0.5, 0.5))
    array = np.arange(96, dtype=float).reshape(fine.shape)
    got = onto_image(Volume(array, fine), image)
    pairs = array.reshape(3, 2, 4, 4).mean(axis=1)
    np.testing.assert_allclose(got[1:4, :, 1:5], pairs)
    assert got.sum() == pytest.approx(pairs.sum())


def test_change_is_positive_as_the_defect_is():
    nominal, truth = np.array([600.0, 600, 0, 0]), np.array([0.0, 600, 300, 0])
    case = Case("t", "mixed", None, None, truth, nominal)
    assert case.change(truth) - case.change(nominal) == pytest.approx((600**2 + 300**2) / 900)
    assert case.change(np.full(4, 9.0)) == pytest.approx(9 * (300 - 600) / 900)
