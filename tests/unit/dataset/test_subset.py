"""Subsets of the training slices, and compute turned into steps."""

import numpy as np
import pandas as pd
import pytest

from tubepet.dataset import subset
from tubepet.errors import InputError
from tubepet.study import cost

TABLE = pd.DataFrame(
    {
        "split": ["train"] * 40 + ["test"] * 10,
        "has_defect": np.tile([True, False, False, False, False], 10),
    }
)


def kept(num: int) -> set[int]:
    table = subset.take_slices(TABLE, num, np.random.default_rng(3))
    assert (table["split"] == "test").sum() == 10
    return set(table.index[table["split"] == "train"])


def test_subsets_are_nested_and_keep_the_share_of_defects() -> None:
    small, large = kept(10), kept(25)
    assert len(small) == 10 and len(large) == 25 and small < large
    assert TABLE.loc[sorted(small), "has_defect"].sum() == 2  # a fifth, as of all


def test_more_slices_than_there_are() -> None:
    with pytest.raises(InputError, match="got 41, expected at most 40"):
        kept(41)


def test_budget_in_steps_by_hand() -> None:
    found = {"step_s": 0.5, "reference_step_s": 0.1, "preparation_s": 10.0}
    assert cost.num_steps(found, 1000, True, "x") == 180  # (100 - 10) / 0.5
    assert cost.num_steps(found, 1000, False, "x") == 200
    with pytest.raises(
        InputError, match=r"got 100, which is 10\.0 s, expected more than the 10\.0 s"
    ):
        cost.num_steps(found, 100, True, "x")


def test_costs_show_what_was_really_used() -> None:
    granted = {
        "variant": "a", "num_steps": 10, "step_s": 1.0, "preparation_s": 0.0,
        "is_charged": False, "flops_per_step": 2e9, "parameters": {"generator": 5, "critic": 6},
    }  # fmt: skip
    assert cost.estimate([granted], {"a": 12})["minutes"].item() == 12 * 10 * 1.0 / 60
    run = {"variant": "a", "num_train": "all", "diverged": ""}
    runs = [run | {"cpu_s": 9.0}, run | {"cpu_s": 11.0}, run | {"cpu_s": None, "diverged": "NaN"}]
    row = cost.table([granted], runs).iloc[0]
    assert (row["cpu_s"], row["diverged"], row["parameters"], row["tflops"]) == (10.0, 1, 11, 0.02)
