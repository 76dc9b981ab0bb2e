"""The figure of the stage: GATE and the fast engine side by side, all cases together."""

from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tubepet.validate.transport import COUNTS, FRACTION, TITLES


def draw_validation(results: list[dict[str, Any]], judged: dict[str, Any]) -> Figure:
    """Draw the pooled counts with their tolerances, and spectra and profiles of all cases.

    Parameters
    ----------
    results : list of dict
        From `transport.run_both`.
    judged : dict
        From `transport.judge`.
    """
    figure, axes = plt.subplots(3, 2, figsize=(10, 10), layout="constrained")
    _draw_counts(axes[0, 0], judged)
    _draw_cases(axes[0, 1], judged)
    for key, axis in zip(TITLES, axes[1:].flat, strict=True):
        _draw_shape(axis, results, key, judged["tests"][f"shape of {key}"])
    axes[1, 0].legend()
    figure.suptitle(judged["statement"], fontsize=9, wrap=True)
    return figure


def _draw_counts(axis: Axes, judged: dict[str, Any]) -> None:
    """Pooled differences, bars of two sigma; grey: what the tolerance allows without them."""
    rows = judged["counts"] | {FRACTION: judged[FRACTION]}
    for i, row in enumerate(rows.values()):
        axis.barh(i, 2 * row["tolerance"], left=-row["tolerance"], color="0.9", height=0.8)
        colour = "tab:blue" if row["agrees"] else "tab:red"
        axis.errorbar(
            row["percent"], i, xerr=2 * (row["percent_sigma"] or 0), fmt="o", color=colour
        )
    axis.axvline(0, color="0.4")
    names = [*COUNTS, "scatter fraction (points)"]
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.set(xlabel="fast over GATE / %", title="all cases together, ± 2 σ; grey: allowed")


def _draw_cases(axis: Axes, judged: dict[str, Any]) -> None:
    """Draw the differences of singles, prompts and trues case by case, bars of one sigma."""
    for i, key in enumerate(("singles", "prompts", "trues")):
        for j, each in enumerate(judged["counts"][key]["cases"]):
            if each is not None:
                axis.errorbar(j + 0.2 * (i - 1), each[0], each[1], fmt="o", color=f"C{i}",
                              markersize=4, label=key if j == 0 else None)  # fmt: skip
    axis.axhline(0, color="0.4")
    axis.set_xticks(range(len(judged["cases"])))
    axis.set(xlabel="case", ylabel="fast over GATE / %", title="case by case, ± 1 σ")
    axis.legend(fontsize=8)


def _draw_shape(axis: Axes, results: list[dict[str, Any]], key: str, test: dict[str, Any]) -> None:
    """Draw the sums over cases: GATE's points, the fast engine's steps for as many decays."""
    edges = np.array(results[0]["gate"]["edges"][key])
    points = np.sum([r["gate"]["counts"][key] for r in results], axis=0)
    scales = [r["gate"]["stats"]["decays"] / max(r["fast"]["stats"]["decays"], 1) for r in results]
    steps = np.sum(
        [s * np.array(r["fast"]["counts"][key]) for s, r in zip(scales, results, strict=True)],
        axis=0,
    )
    axis.stairs(steps, edges, label="fast, scaled", color="tab:orange")
    middle = (edges[1:] + edges[:-1]) / 2
    axis.errorbar(middle, points, np.sqrt(points), fmt=".", label="GATE", color="tab:blue")
    axis.set(xlabel=TITLES[key], ylabel="counts per bin")
    axis.set_title(f"chi2 {test['chi2']:.1f} / {test['dof']}, p = {test['p']:.3f}", fontsize=10)
