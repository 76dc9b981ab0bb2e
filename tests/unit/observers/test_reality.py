"""Few parts of a declared reality: how it differs, and what networks learn from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tubepet import io
from tubepet.errors import InputError
from tubepet.observers import design, few_real, figures, generated, learned, reality
from tubepet.plan import reality as planned
from tubepet.pod.parts import Bench
from tubepet.types import Scanner

SECTION = {"real_parts": [3, 10, 30], "simulated_parts": 5, "validation_parts": 2,
           "test_parts": 4, "parts_per_job": 20, "num_flow_steps": 7}  # fmt: skip
IMAGING = generated.Imaging((1.0, 1.0, 1.0), 4.0, 2.0, (2.0, 3.0), 2)


@pytest.fixture(scope="module")
def config(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "config" / "config.yaml").read_text())


def parts(num: int, level: float) -> np.ndarray:
    """Return tubes with a hole in every second one; images of one level tell whose they are."""
    volumes = np.zeros((num, 4, 8, 12, 12), np.float32)
    volumes[:, 1, 1:7, 3:9, 3:9] = volumes[:, 3, 1:7, 3:9, 3:9] = 1
    volumes[1::2, 2, 3:5, 5:7, 5:7] = -1
    volumes[:, 0] = level * (volumes[:, 1] + volumes[:, 2])
    return volumes


def test_jobs_and_arms_have_names() -> None:
    names = ["simulated_0-4", "real_0-19", "real_20-29", "validation_0-1", "test_0-3"]
    assert planned.batches(SECTION) == names
    assert [planned.is_real(name) for name in names] == [False, True, True, True, True]
    arms = {name: few_real.Arm(**arm) for name, arm in planned.arms(SECTION).items()}
    assert arms["simulated"] == few_real.Arm(0, True) and len(arms) == 13
    assert arms["real_3"] == few_real.Arm(3) and arms["both_3"] == few_real.Arm(3, True)
    assert arms["surrogate_30"] == few_real.Arm(30, True, True)
    assert arms["residual_30"] == few_real.Arm(30, True, True, 7)
    assert planned.reference(SECTION) == "real_10"  # 30 is the largest
    assert planned.reference({"real_parts": [7]}) == "real_7"


def test_crystals_spread_as_declared(config: dict[str, Any], tmp_path: Path) -> None:
    scanner = Scanner(**config["scanner"])
    how = reality.Reality(0.1, 0.02, 0.5, "e+", lutetium=True)
    table = reality.efficiencies(scanner, how, 1)
    assert len(table) == scanner.num_crystals == 184 * 64
    # sd of even numbers, of 11,776 crystals: known to 1 / sqrt(2 n) = 0.7 %
    assert table["efficiency"].std() == pytest.approx(0.1, rel=0.03)
    assert 0.65 < table["efficiency"].min() and table["efficiency"].max() <= 1
    assert table["is_dead"].sum() == round(0.02 * 184 * 64)
    path = tmp_path / "efficiencies.csv"
    io.write_table(path, table)
    bench = Bench(scanner, {}, {}, {}, {}, {"particle": "back_to_back"}, "", 1, 0.01, 1)
    real = reality.real_bench(bench, how, str(path))
    assert real.source == {"particle": "e+", "has_lutetium": True}
    assert real.scanner == scanner, "what is calibrated knows nothing of it"
    assert real.real_scanner is not None and real.real_scanner.efficiencies == str(path)
    assert len(real.real_scanner.dead_crystals) == table["is_dead"].sum()


def test_each_real_part_lies_elsewhere_the_same_way_in_any_batch(config: dict[str, Any]) -> None:
    plans = [
        design.planned(batch, 0.1, ["pit"], config["phantom"], 1)
        for batch in ("real_0-299", "real_5-6")
    ]
    whole, piece = (reality.displaced(plan, 0.5, 1) for plan in plans)
    assert whole[5:7] == piece
    shifts = np.array([part.shift_mm for part in whole])
    # 900 numbers: sd known to 1 / sqrt(2 n) = 2.4 %
    assert shifts.std() == pytest.approx(0.5, rel=0.1) and abs(shifts.mean()) < 0.06
    assert all(part.shift_mm == (0, 0, 0) for part in plans[0])


def test_an_arm_learns_from_what_its_name_says() -> None:
    real, simulated = parts(4, 3.0), parts(6, 7.0)
    known, groups = few_real.training_parts(real, simulated, few_real.Arm(3), IMAGING, 1)
    assert np.array_equal(known, learned.scaled(real[:3])) and not groups.any()
    known, groups = few_real.training_parts(real, simulated, few_real.Arm(2, True), IMAGING, 1)
    assert np.array_equal(known, learned.scaled(np.concatenate([real[:2], simulated])))
    assert list(groups) == [0, 0, 1, 1, 1, 1, 1, 1]
    alone, groups = few_real.training_parts(real[:0], simulated, few_real.Arm(0, True), IMAGING, 1)
    assert len(alone) == 6 and groups.all()


def test_the_surrogate_sees_no_simulated_image() -> None:
    arm = few_real.Arm(3, True, True)
    made = [
        few_real.training_parts(parts(4, 3.0), parts(6, level), arm, IMAGING, 1)[0]
        for level in (7.0, 900.0)
    ]
    assert np.array_equal(*made)
    assert not np.array_equal(made[0][3:, 0], learned.scaled(parts(6, 7.0))[:, 0])


@pytest.mark.parametrize("arm", [few_real.Arm(9), few_real.Arm(), few_real.Arm(0, True, True)])
def test_a_reality_without_parts_is_named(arm: few_real.Arm) -> None:
    with pytest.raises(InputError, match=r"reality\.real_parts: got \d, expected 1 to 4"):
        few_real.training_parts(parts(4, 1.0), parts(4, 1.0), arm, IMAGING, 1)


def test_few_real_parts_count_as_much_as_many_simulated_ones() -> None:
    """Two real parts beside sixty: the network sees as much of either."""
    seen = np.zeros(2)

    def fit(make: Any, flat: np.ndarray, loss: Any, steps: int, seed: int, weights: Any) -> None:
        half = len(weights) // 2  # the second half are mirror images
        shares = weights[:half] / weights[:half].sum()
        seen[:] = shares[:2].sum(), shares[2:].sum()

    groups = np.repeat([0, 1], [2, 60])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned.network, "fit", fit)
        learned.train(np.concatenate([parts(2, 1), parts(60, 1)]), learned.Arm(), 1, 1, groups)
    assert seen == pytest.approx([0.5, 0.5])


def test_scores_are_means_over_networks() -> None:
    known, judged, groups = parts(6, 1.0), parts(3, 1.0), np.zeros(6, np.int64)
    one, two = (few_real.scores(known, groups, judged, n, 2, 5) for n in (1, 2))
    other = 2 * two - one  # what the second network says
    assert not np.allclose(one, other)
    assert np.array_equal(two, few_real.scores(known, groups, judged, 2, 2, 5))


def test_the_figure_has_a_line_for_each_way(tmp_path: Path) -> None:
    arms = dict(reversed(planned.arms(SECTION).items()))
    row = {"class": "all", "auc": 0.7, "auc_low": 0.6, "auc_high": 0.8}
    names = [*arms, "limit", "score_test"]
    facts = {"figures": [row | {"observer": name} for name in names]}
    figure = figures.draw_reality(facts, arms)
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert len(labels) == 7
    for container in figure.axes[0].containers:  # from few parts to many, in any order of arms
        assert (np.diff(container[0].get_xdata()) > 0).all()
    io.write_figure(tmp_path / "reality.png", figure)
    assert (tmp_path / "reality.png").stat().st_size > 3000
