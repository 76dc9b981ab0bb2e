"""AUC and thresholds: by hand, against scipy and scikit-learn, and invariances."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from tubepet.errors import InputError
from tubepet.observers import compare


def test_auc_is_mann_whitneys_with_ties() -> None:
    assert compare.auc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 3.5 / 4
    random = np.random.default_rng(1)
    defect, clean = (random.integers(0, 9, num).astype(float) for num in (40, 60))
    found = compare.auc(defect, clean)
    assert found == pytest.approx(mannwhitneyu(defect, clean).statistic / (40 * 60))
    labels = np.repeat([1, 0], [40, 60])
    assert found == pytest.approx(roc_auc_score(labels, np.concatenate([defect, clean])))
    # an order is all it knows
    assert compare.auc(np.exp(defect), np.exp(clean)) == found
    assert compare.auc(-defect, -clean) == pytest.approx(1 - found)


def test_auc_of_the_limit_is_that_of_normal_numbers() -> None:
    means = np.array([0.0, 1.0, 3.0])
    random = np.random.default_rng(2)
    z = means + random.standard_normal((20_000, 3))
    found = compare.auc(z.ravel(), random.standard_normal(60_000))
    # 0.006: four standard errors of 60,000 pairs
    assert compare.limit_auc(means, np.empty(0)) == pytest.approx(found, abs=0.006)
    assert compare.limit_auc(means[:1], np.empty(0)) == 0.5


def test_the_threshold_lets_no_more_through_than_asked_for() -> None:
    clean = np.arange(20.0)
    assert compare.threshold(clean, 0.1) == 17.0  # two of 20 are above
    assert compare.threshold(clean, 0.04) == 19.0  # none


def parts() -> pd.DataFrame:
    """Return parts of which an oracle knows all, a coin nothing."""
    random = np.random.default_rng(4)
    names = ["clean"] * 40 + ["pit"] * 20 + ["bubble"] * 20
    table = pd.DataFrame({"role": "test", "class": names})
    held_out = pd.DataFrame({"role": "validation", "class": ["clean"] * 20})
    table = pd.concat([table, held_out], ignore_index=True)
    has_defect = (table["class"] != "clean").to_numpy()
    table["oracle"] = has_defect + 0.1 * random.random(len(table))
    table["coin"] = random.random(len(table))
    table["score_test"] = 2 * has_defect + random.standard_normal(len(table))
    table["limit_z"] = np.where(has_defect, 2.0, np.nan)
    return table


def test_observers_are_compared_on_test_parts_and_thresholds_are_of_others() -> None:
    table = parts()
    names = ["score_test", "oracle", "coin"]
    facts = compare.summary(table, names, 0.1, np.random.default_rng(5))
    rows = {(row["observer"], row["class"]): row for row in facts["figures"]}
    assert len(rows) == 4 * 3 and rows["oracle", "all"]["parts"] == 40
    oracle, coin = rows["oracle", "all"], rows["coin", "all"]
    assert oracle["auc"] == oracle["auc_low"] == oracle["detected"] == 1.0
    assert coin["auc_low"] < 0.5 < coin["auc_high"] and coin["auc_difference_high"] < 0
    assert rows["score_test", "pit"]["auc_difference_low"] == 0.0
    assert rows["limit", "all"]["auc"] == pytest.approx(norm.cdf(np.sqrt(2)))
    # 20 validation parts at 0.1: the third largest of them; test parts do not move it
    held_out = table["role"] == "validation"
    third = np.sort(table.loc[held_out, "coin"])[-3]
    assert facts["thresholds"]["coin"] == third
    others = table.assign(coin=np.where(held_out, table["coin"], table["coin"] / 2))
    again = compare.summary(others, names, 0.1, np.random.default_rng(5))
    assert again["thresholds"] == facts["thresholds"]
    assert again["figures"] != facts["figures"]


def test_parts_that_are_missing_are_named() -> None:
    table = parts()
    with pytest.raises(InputError, match="observers: got no validation parts, expected some"):
        compare.summary(table[table["role"] == "test"], ["coin"], 0.1, np.random.default_rng(1))
