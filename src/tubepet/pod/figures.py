"""Draw curves of the probability of detection (POD), with their bounds, parts and limits."""

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tubepet.pod import hit_miss, response, table

Array = NDArray[np.float64]
NUM_SIZES = 200
BAND = np.concatenate([[0.02, 0.05], np.linspace(0.1, 0.9, 17), [0.95, 0.98]])  # POD
TICK = 0.03  # height, in POD


def draw_curves(parts: pd.DataFrame, facts: dict[str, Any]) -> Figure:
    """Draw a panel per class and a colour per duration.

    Full lines and bands show hits and misses, dashed lines the signals, dotted ones the limit. A
    band has 95 % confidence on either side, so its edge at 0.9 is a90/95. Ticks are parts: hits
    above, misses below.

    Parameters
    ----------
    parts : DataFrame
        `parts.COLUMNS`.
    facts : dict
        `table.summary`.
    """
    classes = list(dict.fromkeys(row["class"] for row in facts["curves"]))
    durations = sorted({row["duration_s"] for row in facts["curves"]})
    num_columns = min(3, len(classes))
    num_rows = -(-len(classes) // num_columns)
    figure, axes = plt.subplots(
        num_rows, num_columns, figsize=(4.4 * num_columns, 3.4 * num_rows), squeeze=False,
        layout="constrained", sharey=True,
    )  # fmt: skip
    for axis in axes.flat[len(classes) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, classes, strict=False):
        for row in (row for row in facts["curves"] if row["class"] == name):
            here = (parts["class"] == name) & (parts["duration_s"] == row["duration_s"])
            colour = f"C{durations.index(row['duration_s']) % 10}"
            _draw(axis, parts[here], row, facts["false_call_rate"], colour)
        axis.axhline(0.9, color="0.6", lw=0.6)
        axis.set(title=name, ylim=(-0.02 - TICK, 1.02 + TICK), xlabel="size / mm")
        if axis.get_lines()[:-1]:  # beside the line at 0.9
            axis.legend(fontsize=7)
    for axis in axes[:, 0]:
        axis.set_ylabel("probability of detection")
    return figure


def _draw(axis: Axes, rows: pd.DataFrame, row: dict[str, Any], rate: float, colour: str) -> None:
    sizes_mm = rows["size_mm"].to_numpy(np.float64)
    hits = rows["is_right_place"].to_numpy(np.float64)
    across = np.geomspace(sizes_mm.min(), sizes_mm.max(), NUM_SIZES)
    label = f"{row['duration_s']:g} s"
    axis.vlines(sizes_mm[hits > 0], 1.01, 1.01 + TICK, color=colour, lw=0.7)
    axis.vlines(sizes_mm[hits == 0], -0.01 - TICK, -0.01, color=colour, lw=0.7)
    if "slope" in row["hit_miss"]:
        curve = hit_miss.fit(sizes_mm, hits)
        axis.plot(across, curve.pod(across), color=colour, label=f"{label}, hits and misses")
        low, high = ([hit_miss.bound_mm(curve, pod, side) for pod in BAND] for side in (-1, 1))
        edges = np.nan_to_num(low, nan=0.0), np.nan_to_num(high, nan=np.inf)  # NaN: no bound
        axis.fill_betweenx(
            BAND, *np.clip(edges, across[0], across[-1]), color=colour, alpha=0.15, lw=0
        )
    if "slope" in row["response"]:
        signals = response.fit(
            sizes_mm, rows["place_z"].to_numpy(np.float64), row["response"]["threshold_z"]
        )
        axis.plot(across, signals.pod(across), "--", color=colour, label=f"{label}, signals")
    if "a50_mm" in row["limit"]:
        limit_z = rows["limit_z"].to_numpy(np.float64)
        limit = hit_miss.fit(sizes_mm, table.limit_chances(limit_z, rate))
        axis.plot(across, limit.pod(across), ":", color=colour, label=f"{label}, limit")
