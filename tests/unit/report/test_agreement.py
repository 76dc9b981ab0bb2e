"""The chart of the two engines shows the pooled counts, their tolerances and the verdict."""

from tubepet.report import charts

ROW = {"percent": 0.7, "percent_sigma": 0.1, "tolerance": 0.3, "agrees": False}
VERDICT = {
    "verdict": "disagree",
    "statement": "They disagree in singles.",
    "cases": ["one", "two"],
    "counts": {"singles": ROW, "randoms": ROW | {"percent": 0.0, "percent_sigma": None}},
}


def test_chart_says_verdict_tubes_and_tolerance():
    chart = charts.draw_agreement(VERDICT)
    assert "of 2 tubes together" in chart.caption
    assert "Verdict: disagree. They disagree in singles." in chart.caption
    assert chart.numbers["tolerance"].tolist() == [0.3, 0.3]
    bars, points = chart.figure.data
    assert list(bars.x) == [0.6, 0.6] and list(bars.base) == [-0.3, -0.3]
    assert points.error_x.array[0] == 0.2
