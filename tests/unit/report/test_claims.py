"""The summary claims no more than its intervals support, and numbers decide "broken"."""

import numpy as np
import pandas as pd
import pytest

from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.pod.table import of_verdicts
from tubepet.report import claims


def table1(low: float, high: float) -> pd.DataFrame:
    """Two generators, of which the second has a Fréchet distance of 2 [low, high]."""
    return pd.DataFrame(
        {
            "model": ["vae", "surrogate", FLOOR, COPY],
            "frechet": [9.0, 2.0, 1.0, 0.5],
            "frechet_low": [8.0, low, 0.9, 0.4],
            "frechet_high": [10.0, high, 1.1, 0.6],
            "c2st": [1.0, 0.8, 0.5, 0.5],
            "c2st_low": [1.0, 0.7, 0.4, 0.4],
            "c2st_high": [1.0, 0.9, 0.6, 0.6],
        }
    )


def test_a_generator_is_nearest_only_where_its_interval_parts_from_the_next():
    first, second = claims.generators(table1(1.5, 7.9))
    assert "surrogate 2 [1.5, 7.9] is smaller than those of the 1 others" in first
    assert "(next: vae 9 [8, 10])" in first and "training tubes have 1 [0.9, 1.1]." in first
    assert "with accuracy 0.8 [0.7, 0.9] (0.5: it cannot)" in second
    (alone,) = claims.generators(table1(1.5, 8.1))
    assert "not told apart: surrogate 2 [1.5, 8.1] and vae 9 [8, 10];" in alone
    assert "smaller than" not in alone


def test_what_is_undefined_is_not_said():
    table = table1(1, 3).assign(frechet=np.nan)
    assert claims.generators(table) == []
    without = table1(1, 3).drop(columns=["c2st", "c2st_low", "c2st_high"])
    assert len(claims.generators(without)) == 1


VERDICTS = pd.DataFrame(
    {
        "tube": ["a", "b", "c", "d", "e"],
        "defect": ["pit", "pit", "crack", "none", "none"],
        "defect_mm": [3.0, 2.0, 1.0, np.nan, np.nan],
        "is_called": [True, True, False, True, False],
        "is_right_place": [True, False, False, False, False],
    }
)


def test_verdict_counts_places_and_false_calls():
    classes = of_verdicts(VERDICTS)
    text = " ".join(claims.found(VERDICTS, classes, 0.01))
    assert "1 of 3 defects were found in the right place." in text
    assert "1 more of these parts were called, but in another place." in text
    # one of two, Clopper and Pearson: 1.26 % to 98.74 %
    assert "1 of 2 parts without a defect were called" in text
    assert "rate of 0.5 [0.0126, 0.987]; the threshold is set for 0.01." in text
    assert claims.where(VERDICTS) == {"pit": "a", "none": "d"}
    doubts = " ".join(claims.doubts(classes, 0.01))
    assert "(2) are too few to check a false-call rate of 0.01" in doubts
    assert "At most 2 parts of a class, where 60 are wanted" in doubts


def test_many_parts_leave_no_doubt():
    classes = pd.DataFrame({"class": ["none", "pit"], "parts": [200, 60]})
    (only,) = claims.doubts(classes, 0.01)
    assert only.startswith("Parts and measurements are simulated")


def test_no_clean_part_is_said():
    text = " ".join(claims.found(VERDICTS[:3], of_verdicts(VERDICTS[:3]), 0.01))
    assert "No part is without a defect, so false calls were not seen" in text


@pytest.mark.parametrize(
    ("enhanced", "words"),
    [
        (
            [3.0, 3.1, 2.9],
            "are nearer to the long ones than the short ones are: PSNR differs by 2 ",
        ),
        ([0.0, -0.1, 0.1], "are farther from the long ones: PSNR differs by -1 "),
        ([9.0, -8.0, 2.0], "cannot be said to be nearer"),
        ([9.0], "cannot be said to be nearer"),
    ],
)
def test_enhancement_is_claimed_by_its_interval(enhanced, words):
    table = pd.DataFrame({"psnr_enhanced": enhanced, "psnr_short": 1.0})
    assert words in claims.enhancement(table)


def test_activity_has_its_interval():
    recovery = pd.DataFrame({"true_bq": [100.0, 200.0], "reconstructed_bq": [98.0, 200.0]})
    # mean 0.99, standard error 0.01, t of one degree of freedom 12.706
    assert "is 0.99 [0.863, 1.12] over 2 parts (standard deviation 0.010)" in claims.activity(
        recovery
    )


def test_broken_is_what_is_like_no_held_out_slice():
    table = pd.DataFrame(
        {
            "model": ["noise", "blurred", "good", "unknown", FLOOR],
            "precision_high": [0.0, 0.0, 0.9, np.nan, 0.0],
            "coverage_high": [0.0, 0.1, 0.8, 0.0, 0.0],
        }
    )
    assert claims.broken(table) == ["noise"]
    assert claims.broken(table.drop(columns="coverage_high")) == []
    assert claims.for_readers(["noise", "blurred"], table) == ["blurred"]
    assert claims.for_readers(["noise"], table) == ["noise"]  # else there is nothing to show
    assert "noise is marked broken" in claims.about_broken(["noise"], left_out=False)
    assert "a and b are marked" in claims.about_broken(["a", "b"], left_out=True)
    assert "the Turing test leaves them out" in claims.about_broken(["a", "b"], left_out=True)


def test_what_cannot_be_computed_is_said_once():
    statements = [f"{name}: x, y cannot be computed from 3 images" for name in ("vae", COPY)]
    said = claims.gathered([*statements, "FID: no network"], ["vae", COPY])
    assert said == [
        "vae and perfect copier: 2 numbers of Table 1 cannot be computed from 3 images.",
        "FID: no network",
    ]
