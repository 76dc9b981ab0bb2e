"""From results of inspections to numbers of POD: hits, false calls, figures."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tubepet import io
from tubepet.pod import figures, parts, table


def rows(name: str, num: int, seed: int) -> pd.DataFrame:
    """Return parts whose z is 4.4 at 3 mm, on average."""
    random = np.random.default_rng(seed)
    sizes_mm = np.geomspace(2, 6, num)
    z = np.exp(np.log(4.4) + 2 * np.log(sizes_mm / 3) + 0.2 * random.standard_normal(num))
    values = {
        "part": [f"{name}_{i:04d}" for i in range(num)], "class": name, "family": "round",
        "size_mm": sizes_mm, "duration_s": 0.1, "coincidences": 30000, "verdict": "defect",
        "is_called": z > 4.4, "is_right_place": z > 4.4, "largest_z": np.maximum(z, 3),
        "threshold_z": 4.4, "p_value": 0.5, "mean_z": 0.1, "rms_z": 1.0, "place_z": z,
        "limit_z": 5 * (sizes_mm / 3) ** 2,
        "known_z": 4.5 * (sizes_mm / 3) ** 2, "foretold": 0.25, "cpu_s": 1.0,
    }  # fmt: skip
    return pd.DataFrame(values)[list(parts.COLUMNS)]


def everything() -> pd.DataFrame:
    """Return two classes and clean parts, of which 3 of 100 are called."""
    clean = rows("clean", 100, 2).assign(
        size_mm=np.nan, place_z=np.nan, limit_z=np.nan, foretold=np.nan,
        is_called=np.arange(100) < 3, is_right_place=False,
    )  # fmt: skip
    missed = rows("crack", 20, 3).assign(is_right_place=False, place_z=np.nan, limit_z=0.1)
    return pd.concat([rows("pit", 80, 1), missed, clean], ignore_index=True)


def test_figures_of_known_parts() -> None:
    facts = table.summary(everything(), 0.01)
    pit, crack = facts["curves"]
    assert (pit["class"], pit["parts"]) == ("pit", 80)
    # 4.5 z for 5, and a quarter of 80
    assert pit["known"]["ratio"] == pytest.approx(0.9)
    assert pit["known"]["error"] < 0.05
    assert pit["foretold_hits"] == 20
    # hits begin at 3 mm; a50 of 80 parts is good to some per cent
    assert pit["hit_miss"]["a50_mm"] == pytest.approx(3, rel=0.06)
    assert pit["response"]["a50_mm"] == pytest.approx(3, rel=0.03)
    assert pit["hit_miss"]["a50_mm"] < pit["hit_miss"]["a90_mm"] < pit["hit_miss"]["a90_95_mm"]
    # the limit is a z of 2.33 for half of them: 3 mm sqrt(2.33 / 5)
    assert pit["limit"]["a50_mm"] == pytest.approx(3 * np.sqrt(2.326 / 5), rel=0.02)
    assert "none of 20 parts" in crack["hit_miss"]["remark"] and "a50_mm" not in crack["hit_miss"]
    assert "0 of 20 signals" in crack["response"]["remark"]
    # a mean of 0.1 exceeds 2.326 in 1.3 %
    assert crack["limit"]["remark"] == "it finds 1% to 1% at all sizes"


def test_false_calls_with_their_error() -> None:
    found = table.summary(everything(), 0.01)["false_calls"][0]
    assert (found["mean_z"], found["rms_z"]) == (pytest.approx(0.1), pytest.approx(1.0))
    # Clopper and Pearson's interval of 3 of 100 (their tables)
    assert (found["rate"], found["called"], found["parts"]) == (0.03, 3, 100)
    assert (found["rate_low"], found["rate_high"]) == pytest.approx((0.0062, 0.0852), abs=1e-4)


def test_parts_of_a_run_by_class() -> None:
    run = everything().rename(columns={"class": "defect", "size_mm": "defect_mm"})
    run["defect"] = run["defect"].replace("clean", "none")
    found = table.of_verdicts(run).set_index("class")
    pit, crack, none = (found.loc[name] for name in ("pit", "crack", "none"))
    facts = table.summary(everything(), 0.01)
    assert pit["a90_95_mm"] == pytest.approx(facts["curves"][0]["hit_miss"]["a90_95_mm"])
    assert (crack["found"], crack["share_low"]) == (0, 0)
    # none of 20: 1 - 0.025^(1/20)
    assert crack["share_high"] == pytest.approx(0.1684, abs=1e-4)
    assert "none of 20 parts" in crack["remark"] and np.isnan(crack["a50_mm"])
    # Clopper and Pearson's interval of 3 of 100 (their tables)
    assert (none["share_low"], none["share_high"]) == pytest.approx((0.0062, 0.0852), abs=1e-4)
    assert none["remark"] == ""


def test_sizes_that_do_not_decide_have_no_a90() -> None:
    """One hit amid twelve parts, as of the default run's thinnings: a90 would be 5 m."""
    few = rows("thinning", 12, 1).assign(is_right_place=np.arange(12) == 7)
    found = table.summary(few, 0.01)["curves"][0]["hit_miss"]
    assert found["hits"] == 1 and not found.keys() & {"a50_mm", "a90_mm", "a90_95_mm"}
    assert found["remark"] == "it is not sure that larger defects are found more often"


def test_a_call_in_a_wrong_place_is_no_hit() -> None:
    wrong = rows("pit", 80, 1).assign(is_right_place=False)
    assert table.summary(wrong, 0.01)["curves"][0]["hit_miss"]["hits"] == 0


def test_nothing_can_be_found_without_a_threshold() -> None:
    blind = rows("pit", 20, 1).assign(threshold_z=np.inf, is_right_place=False)
    assert (
        "no part has a threshold" in table.summary(blind, 0.01)["curves"][0]["response"]["remark"]
    )


def test_an_extrapolation_is_said() -> None:
    small = rows("pit", 80, 1)
    small = small[small["size_mm"] < 3.2]
    facts = table.summary(small, 0.01)["curves"][0]
    assert "beyond the largest part" in facts["response"]["remark"]


def test_facts_are_written_and_curves_drawn(tmp_path) -> None:
    all_parts = everything()
    facts = table.summary(all_parts, 0.01)
    io.write_json(tmp_path / "pod.json", facts)
    assert io.read_json(tmp_path / "pod.json") == facts
    figure = figures.draw_curves(all_parts, facts)
    pit, crack = figure.axes
    labels = [line.get_label() for line in pit.get_lines()]
    assert labels[:3] == [f"0.1 s, {kind}" for kind in ("hits and misses", "signals", "limit")]
    assert crack.get_title() == "crack"
    io.write_figure(tmp_path / "pod.png", figure)


def test_a_band_without_bounds_is_as_wide_as_the_parts() -> None:
    few = rows("pit", 4, 1).assign(is_right_place=[False, True, False, True], place_z=np.nan)
    figure = figures.draw_curves(few, table.summary(few, 0.01))
    edges = figure.axes[0].collections[-1].get_paths()[0].vertices
    at = edges[np.isclose(edges[:, 1], 0.5)][:, 0]
    # four parts bound neither side of a50
    assert (at.min(), at.max()) == pytest.approx((2.0, 6.0))


def test_the_signal_is_that_near_the_defect() -> None:
    places = pd.DataFrame({"x_mm": [0.0, 3.5, 9.0], "y_mm": 0.0, "z_mm": 0.0})
    scores = SimpleNamespace(z=np.array([1.0, 3.0, 7.0]))
    found = SimpleNamespace(bank=SimpleNamespace(table=places), scores=scores)
    box_mm = [[-1.0, 2.0], [-1.0, 1.0], [-1.0, 1.0]]
    assert parts._place_z(found, box_mm) == 3.0  # 1.5 mm from the box; the next is 7 mm away
    assert np.isnan(parts._place_z(found, [[50.0, 51.0], [0.0, 1.0], [0.0, 1.0]]))
