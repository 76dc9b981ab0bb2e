"""Statements of the page from invented scores, for and against a claim."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tubepet import io
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.study import figures, page, scores, tables, tuning
from tubepet.study.detector import BOTH, REAL, SYNTHETIC
from tubepet.study.scores import Scores

SEEDS, HALVES = 5, 6
VARIANTS = {
    "surrogate": {"beats": ["dcgan"], "ablates": "", "part": ""},
    "dcgan": {"beats": [], "ablates": "", "part": ""},
    "no_memory": {"beats": [], "ablates": "surrogate", "part": "The memory carries information"},
}
KEY = Scores([]).key  # of all spaces
GATE = {"real": 0.1, "energy": {"blurred": 2.0, "noisier": 3.0, "torn": 4.0},
        "auc": {"blurred": 0.95, "noisier": 0.96, "torn": 0.97}, "is_passed": True}  # fmt: skip
BLIND = GATE | {"auc": GATE["auc"] | {"torn": 0.55}, "is_passed": False}
STUDY = {
    "variants": VARIANTS, "num_seeds": SEEDS,
    "budget_steps": 7, "tuning_steps": 3,
    "curve": {"variants": ["surrogate"], "num_images": [30]},
}  # fmt: skip
CHOICES = [
    {
        "variant": "surrogate", "index": 1, "candidates": [
            {"set": {}, "num_steps": 3, "cpu_s": 1.0, "frechet": None, "floor": 2.0},
            {"set": {"kappa": 3.0}, "num_steps": 2, "cpu_s": 1.0, "frechet": 7.0, "floor": 2.0},
        ],
    }
]  # fmt: skip
FEATURES = {"tubes": ["t"], "defect_auc": 0.9, "shape_accuracy": 0.8, "radius_error_px": 0.1}
FACTS = {"num_train": 60, "num_test": 40, "num_test_tubes": 4, "num_images": 50}


def run(variant: str, seed: int, quality: float, num_train: str = "all") -> dict:
    """Scores that are better the larger `quality` is, with a little chance."""
    rng = np.random.default_rng([seed, len(variant)])
    values = {m: 20 + sign * (quality + rng.normal(0, 0.05)) for m, sign in KEY.items()}
    ratio = 0.95 if variant != COPY else 0.0
    values |= {"nearest_ratio": ratio, "share_close": 0.05, "precision": None}
    draws = {m: [values[m] + d for d in np.linspace(-0.1, 0.1, HALVES)] for m in KEY}
    return {"variant": variant, "num_train": num_train, "seed": seed, "values": values,
            "draws": draws, "cpu_s": 3.0, "diverged": ""}  # fmt: skip


def written(surrogate: float, dcgan: float, no_memory: float, gain: float) -> str:
    qualities = {
        "surrogate": surrogate,
        "dcgan": dcgan,
        "no_memory": no_memory,
        FLOOR: 12.0,
        COPY: 11.0,
    }
    rows = [run(name, seed, q) for name, q in qualities.items() for seed in range(SEEDS)]
    rows += [run("surrogate", seed, surrogate - 2, "30") for seed in range(SEEDS)]
    cost = {"variant": "surrogate", "num_steps": 3, "preparation_s": 0.0, "is_charged": True,
            "cpu_s": 3.0, "diverged": 0, "gflops_per_step": 1.0, "tflops": 0.1,
            "parameters": 5.0}  # fmt: skip
    aucs = [{"num_real": 50, "seed": s, REAL: 0.6, BOTH: 0.6 + gain + 0.01 * s, SYNTHETIC: None}
            for s in range(SEEDS)]  # fmt: skip
    found = Scores(rows)
    facts = FACTS | {
        "features": FEATURES,
        "gates": {"statistics": GATE, "learned": BLIND, "imagenet": GATE},
    }
    costs, detector = pd.DataFrame([cost]), pd.DataFrame(aucs)
    claims = scores.claims_of(VARIANTS, found)
    screen = page.make_page(STUDY, claims, found, facts)
    assert len(screen.splitlines()) < 40
    return screen + tables.make_tables(
        STUDY, claims, found, costs, tuning.table(CHOICES), detector, facts
    )


def test_a_clear_win_is_stated_as_one() -> None:
    text = written(surrogate=10, dcgan=8, no_memory=9, gain=0.1)
    assert "- **holds**: `surrogate` is better than `dcgan`. Nearer by 1.2x [" in text
    assert ": The memory carries information (`surrogate` is better than `no_memory`)" in text
    assert text.count("- **holds**") == 2
    assert "| `surrogate` is better than `dcgan` | **holds** | 1.2x [" in text
    assert "**One number decides a claim:** energy distance, statistics features." in text
    assert "energy distance, imagenet features by 2" in text
    assert "| `surrogate` | as configured | 3 | diverged |  |" in text
    assert "| `surrogate` | kappa 3.0 | 2 | 7 | chosen |" in text


def test_a_clear_loss_is_stated_as_one() -> None:
    text = written(surrogate=8, dcgan=10, no_memory=9, gain=-0.1)
    assert "**does not hold**: `surrogate` is better than `dcgan`" in text
    assert text.count("- **does not hold**") == 2
    assert "| 50 | 0.600 | 0.520 | – | -0.08 [" in text


def test_distances_over_decades_are_told_apart_as_factors() -> None:
    rows = []
    for seed, (good, bad) in enumerate([(1, 10), (3, 50), (2, 400), (1.5, 30), (2.5, 3000)]):
        for name, distance in (("surrogate", good), ("dcgan", bad)):
            values = {m: distance if sign < 0 else 0.0 for m, sign in KEY.items()}
            rows.append(run(name, seed, 1) | {"values": values, "draws": {}})
    claim = scores._claim("x", "surrogate", "dcgan", Scores(rows))
    assert claim.verdict == "holds" and claim.primary is not None
    # geometric mean of 10, 50/3, 200, 20, 1200
    assert np.exp(claim.primary.mean) == pytest.approx(60.3, rel=0.01)
    assert tables.as_factor(claim.primary).startswith("60.3x [")


def test_who_is_nearer_than_real_slices_is_not_better_for_it() -> None:
    rows = []
    for seed in range(SEEDS):
        for name, distance in ((FLOOR, 1.0), ("surrogate", -0.3), ("dcgan", 0.5)):
            values = dict.fromkeys(KEY, distance + 0.01 * seed)
            rows.append(run(name, seed, 1) | {"values": values, "draws": {}})
    found = Scores(rows)
    # of 1.00, 1.01, .. 1.04: mean 1.02, sd 0.0158, t of 0.975 with four degrees 2.776
    assert found.least("energy") == pytest.approx(1.0396, abs=1e-4)
    claim = scores._claim("x", "surrogate", "dcgan", found)
    assert claim.primary is not None and claim.primary.mean == 0.0
    assert claim.verdict == "undecided"
    assert claim.would_decide == "both are as near as real slices may be"


def test_an_undecided_claim_says_what_would_decide_it() -> None:
    rows = []
    for seed, factor in enumerate([0.8, 1.0, 1.8, 2.0, 1.2]):
        for name, distance in (("surrogate", 1.0), ("dcgan", factor)):
            values = dict.fromkeys(KEY, distance)
            rows.append(run(name, seed, 1) | {"values": values, "draws": {}})
    claim = scores._claim("x", "surrogate", "dcgan", Scores(rows))
    logs = np.log([0.8, 1.0, 1.8, 2.0, 1.2])
    needed = next(
        n
        for n in range(5, 99)
        if stats.t.ppf(0.975, n - 1) * logs.std(ddof=1) / np.sqrt(n) < logs.mean()
    )
    assert claim.verdict == "undecided" and claim.would_decide == f"{needed} seeds would decide"
    assert f". {needed} seeds would decide." in tables.claim_text(claim)


def test_no_difference_is_undecided() -> None:
    text = written(surrogate=10, dcgan=10, no_memory=10, gain=-0.02)
    assert text.count("- **undecided**") == 2


def test_pairs_are_the_seeds_that_both_have() -> None:
    rows = [run("surrogate", s, 10) for s in range(5)] + [run("dcgan", s, 8) for s in (1, 3)]
    rows.append(run("dcgan", 4, 8) | {"values": {}, "draws": {}, "diverged": "NaN"})
    found = Scores(rows).difference("surrogate", "dcgan", "coverage", 1)
    assert found is not None and found.num_seeds == 2


def test_a_distance_below_zero_without_real_slices_has_no_factor() -> None:
    rows = [run(name, s, q) for name, q in (("surrogate", 10), ("dcgan", 8)) for s in range(SEEDS)]
    rows[0]["values"]["energy"] = -0.01
    claim = scores._claim("x", "surrogate", "dcgan", Scores(rows))
    assert claim.primary is None and claim.verdict == "undecided" and not claim.would_decide


def test_only_spaces_that_count_are_judged_and_the_page_says_which() -> None:
    rows = [run(name, s, q) for name, q in (("surrogate", 10), ("dcgan", 8)) for s in range(SEEDS)]
    claim = scores._claim("x", "surrogate", "dcgan", Scores(rows, ["statistics"]))
    assert claim.verdict == "holds" and list(claim.others) == ["frechet", "coverage"]
    nothing = scores._claim("x", "surrogate", "dcgan", Scores(rows, []))
    assert nothing.verdict == "undecided" and not nothing.others
    text = written(surrogate=10, dcgan=8, no_memory=9, gain=0.1)
    assert "| statistics | 0.1 | 2; 0.95 | 3; 0.96 | 4; 0.97 | yes |" in text
    assert "| learned | 0.1 | 2; 0.95 | 3; 0.96 | 4; 0.55 | no |" in text


def test_a_metric_that_is_undefined_is_left_out() -> None:
    rows = [run(name, s, 10) for name in ("surrogate", "dcgan") for s in range(3)]
    rows[0]["values"]["coverage"] = None
    claim = scores._claim("x", "surrogate", "dcgan", Scores(rows))
    assert "coverage" not in claim.others and "frechet" in claim.others


def test_figures_are_drawn(tmp_path: Path) -> None:
    rows = [run(name, s, 10) for name in ("surrogate", FLOOR) for s in range(3)]
    rows += [run("surrogate", s, 8, "30") for s in range(3)]
    found = Scores(rows)
    table = pd.DataFrame({"num_real": [25, 50], "seed": 0, REAL: [0.6, 0.7], BOTH: [0.7, np.nan]})
    drawn = (
        figures.draw_variants(["surrogate", FLOOR], found),
        figures.draw_curve(STUDY["curve"], 60, found),
        figures.draw_claims(["surrogate", FLOOR], scores.claims_of(VARIANTS, found), found),
        figures.draw_claims(["surrogate", FLOOR], [], Scores(rows, [])),
        figures.draw_detector(table),
        figures.draw_detector(pd.DataFrame()),
    )
    for i, figure in enumerate(drawn):
        io.write_figure(tmp_path / f"{i}.png", figure)
        assert (tmp_path / f"{i}.png").stat().st_size > 3000


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.01234, "0.0123"), (12345.6, "12346")])
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert tables.number(value) == text
