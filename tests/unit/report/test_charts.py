"""Charts show the numbers that their tables have, and claim no more."""

import numpy as np
import pandas as pd

from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.report import charts

ROW = {"percent": 0.7, "percent_sigma": 0.1, "tolerance": 0.3, "agrees": False}
VERDICT = {
    "verdict": "disagree",
    "statement": "They disagree in singles.",
    "cases": ["one", "two"],
    "counts": {"singles": ROW, "randoms": ROW | {"percent": 0.0, "percent_sigma": None}},
}


def test_the_engines_with_verdict_tubes_and_tolerance():
    chart = charts.draw_agreement(VERDICT)
    assert "of 2 tubes together" in chart.caption
    assert "Verdict: disagree. They disagree in singles." in chart.caption
    assert chart.numbers["tolerance"].tolist() == [0.3, 0.3]
    bars, points = chart.figure.data
    assert list(bars.x) == [0.6, 0.6] and list(bars.base) == [-0.3, -0.3]
    assert points.error_x.array[0] == 0.2


def test_found_by_size_has_each_part_with_a_defect_once():
    verdicts = pd.DataFrame(
        {
            "tube": list("abcd"),
            "defect": ["pit", "pit", "crack", "none"],
            "defect_mm": [3.0, 2.0, 1.0, np.nan],
            "is_called": [True, True, False, True],
            "is_right_place": [True, False, False, False],
            "largest_z": 5.0,
        }
    )
    chart = charts.draw_found(verdicts)
    marks = {trace.name: list(trace.text) for trace in chart.figure.data}
    assert marks == {
        "found in the right place": ["a"], "called, but elsewhere": ["b"], "missed": ["c"]
    }  # fmt: skip
    assert list(chart.figure.data[0].x) == [3.0] and "3 in all" in chart.caption
    assert chart.numbers["tube"].tolist() == ["a", "b", "c"]


def test_table_1_is_drawn_with_its_intervals_and_without_what_is_undefined():
    table = pd.DataFrame({"model": ["vae", FLOOR, COPY]})
    for metric, value in (("frechet", 2.0), ("c2st", np.nan), ("energy", 1.0)):
        table = table.assign(
            **{metric: value, f"{metric}_low": value - 1, f"{metric}_high": value + 3}
        )
    chart = charts.draw_table(table, {"frechet": "a distance"})
    (panel,) = chart.figure.data  # energy is not one of the five
    assert list(panel.y) == ["vae", "simulated, training tubes", "perfect copier"]
    assert list(panel.error_x.array) == [3] * 3 and list(panel.error_x.arrayminus) == [1] * 3
    assert list(chart.numbers) == ["model", "frechet", "frechet_low", "frechet_high"]
