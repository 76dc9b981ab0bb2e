"""Observers side by side: ROC curves, and AUC with its intervals."""

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import norm

from tubepet.observers.compare import LIMIT, REFERENCE
from tubepet.observers.design import TEST
from tubepet.pod.design import CLEAN

WAYS = ("has_simulated", "has_generated", "num_flow_steps")  # fields of `few_real.Arm`
FALSE_CALLS = np.linspace(0.001, 0.999, 400)


def draw_observers(parts: pd.DataFrame, facts: dict[str, Any]) -> Figure:
    """Draw ROC curves of all test parts, and a bar per observer with its 95 % interval.

    Parameters
    ----------
    parts : DataFrame
        As for `compare.summary`.
    facts : dict
        `compare.summary`.
    """
    rows = [row for row in facts["figures"] if row["class"] == "all"]
    rows.sort(key=lambda row: -float(row["auc"]))
    test = parts[parts["role"] == TEST]
    is_clean = (test["class"] == CLEAN).to_numpy()
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for i, row in enumerate(rows):
        name, colour = row["observer"], f"C{i % 10}"
        if name == LIMIT:
            means = test["limit_z"].to_numpy()[~is_clean]
            found = norm.sf(norm.isf(FALSE_CALLS)[:, None] - means).mean(axis=1)
            left.plot(FALSE_CALLS, found, ":", color=colour, label=name)
        else:
            score = test[name].to_numpy()
            levels = np.concatenate([[np.inf], np.sort(score)[::-1]])[:, None]
            false, found = ((score[who] >= levels).mean(axis=1) for who in (is_clean, ~is_clean))
            left.plot(false, found, color=colour, label=name)
        ends = [[row["auc"] - row["auc_low"]], [row["auc_high"] - row["auc"]]]
        right.barh(i, row["auc"], xerr=ends, color=colour, capsize=3)
    left.plot([0, 1], [0, 1], color="0.7", lw=0.6)
    left.set(xlabel="share of clean parts called", ylabel="share of defects called")
    left.legend(fontsize=7, loc="lower right")
    right.set(xlabel="AUC per part, 95 % interval", xlim=(0.4, 1.0))
    right.set_yticks(range(len(rows)), [row["observer"] for row in rows])
    right.invert_yaxis()
    right.axvline(0.5, color="0.7", lw=0.6)
    return figure


def draw_reality(facts: dict[str, Any], arms: dict[str, dict[str, Any]]) -> Figure:
    """Draw AUC against the number of real parts, a line for each way to use them.

    Parameters
    ----------
    facts : dict
        `compare.summary`.
    arms : dict
        Fields of `few_real.Arm` by name.
    """
    rows = {row["observer"]: row for row in facts["figures"] if row["class"] == "all"}
    figure, axis = plt.subplots(figsize=(7, 5.4), layout="constrained")
    ways = {
        "real parts alone": (False, False, False),
        "with simulated parts": (True, False, False),
        "with images of a surrogate fitted to them": (True, True, False),
        "with a flow from this surrogate to them": (True, True, True),
    }
    for i, (label, way) in enumerate(ways.items()):
        names = [
            name
            for name, arm in sorted(arms.items(), key=lambda both: both[1].get("num_real", 0))
            if arm.get("num_real") and tuple(bool(arm.get(key)) for key in WAYS) == way
        ]
        numbers = [arms[name]["num_real"] * 1.04 ** (i - 1) for name in names]  # side by side
        middle, low, high = (
            np.array([rows[name][key] for name in names]) for key in ("auc", "auc_low", "auc_high")
        )
        error = [middle - low, high - middle]
        axis.errorbar(numbers, middle, yerr=error, fmt="o-", capsize=3, color=f"C{i}", label=label)
    for name, label, style in (
        (LIMIT, "limit: shape and place known", ":"),
        (REFERENCE, "score test: needs no training", "--"),
        ("simulated", "simulated parts alone", "-."),
    ):
        axis.axhline(rows[name]["auc"], color="0.4", linestyle=style, label=label)
    axis.set(xscale="log", xlabel="real parts", ylabel="AUC per real part")
    axis.set_ylim(top=1.0)
    numbers = sorted({arm["num_real"] for arm in arms.values() if arm.get("num_real")})
    axis.set_xticks(numbers, [str(number) for number in numbers])
    axis.minorticks_off()
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)  # no line behind it
    return figure
