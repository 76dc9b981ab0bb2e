"""Observers side by side: ROC curves, and AUC with its intervals."""

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import norm

from tubepet.observers.compare import LIMIT
from tubepet.observers.design import TEST
from tubepet.pod.design import CLEAN

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
