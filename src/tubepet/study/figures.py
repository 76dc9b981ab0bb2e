"""Figures of the study."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from tubepet.evaluate.row_names import FLOOR
from tubepet.study.detector import BOTH, REAL, SYNTHETIC
from tubepet.study.intervals import FAILS, HOLDS, OPEN
from tubepet.study.scores import ALL, SHOWN, SIGNS, SPACES, Claim, Scores, label

GRID = (len(SPACES), len(SIGNS))  # a row of panels for each feature space
SMALL: dict[str, Any] = {"fontsize": 7, "verticalalignment": "center", "color": "0.4"}
COLOURS = {HOLDS: "C2", FAILS: "C3", OPEN: "0.5"}


def draw_claims(names: Sequence[str], claims: Sequence[Claim], scores: Scores) -> Figure:
    """Draw the distance that decides, of all variants, and the factor behind every claim."""
    figure = Figure(figsize=(12, 1.5 + 0.25 * max(len(names), len(claims))), layout="constrained")
    distances, factors = figure.subplots(1, 2)
    metric = next(iter(scores.key), SHOWN[0])
    _draw_metric(distances, names, metric, scores)
    found = [(claim, claim.primary) for claim in claims if claim.primary is not None]
    known = [(claim, factor) for claim, factor in found if np.isfinite(factor.low)]
    for i, (claim, factor) in enumerate(known):
        low, middle, high = np.exp([factor.low, factor.mean, factor.high])
        bar = [[middle - low], [high - middle]]
        colour = COLOURS[claim.verdict]
        factors.errorbar(middle, i, xerr=bar, fmt="o", color=colour, markersize=4, capsize=2)
    factors.axvline(1, color="black", linewidth=0.8)
    texts = [claim.text.replace("`", "").partition(" (")[0] for claim, _ in known]
    factors.set_yticks(range(len(known)), texts, fontsize=7)
    factors.set(xscale="log", xlabel="nearer by this factor")
    _plain_ticks(factors)
    factors.set_ylim(max(len(known), 1) - 0.5, -0.5)
    factors.set_title("Claims: green hold, red do not, grey are undecided", fontsize=9)
    return figure


def draw_variants(names: Sequence[str], scores: Scores) -> Figure:
    """Draw the key metrics of all variants with intervals and seeds, and those of real slices."""
    figure = Figure(figsize=(12, 2.2 + 0.25 * len(SPACES) * len(names)), layout="constrained")
    for axis, metric in zip(figure.subplots(*GRID, sharey=True).ravel(), SHOWN, strict=True):
        _draw_metric(axis, names, metric, scores)
    figure.suptitle("Dots: seeds; bars: 95 % interval of the mean; dashed: real training slices")
    return figure


def _draw_metric(axis: Axes, names: Sequence[str], metric: str, scores: Scores) -> None:
    is_distance = not metric.startswith("coverage")
    for i, name in enumerate(names):
        found = scores.mean(name, metric)
        if found is None:
            continue
        if is_distance and found.mean <= 0:
            axis.text(0.02, i, "0 or less", transform=axis.get_yaxis_transform(), **SMALL)
        values, _ = scores.get(name, metric, ALL, scores.seeds(name))
        axis.plot(values, np.full(len(values), i), ".", color="0.7", markersize=4)
        error = [[found.mean - found.low], [found.high - found.mean]]
        axis.errorbar(found.mean, i, xerr=error, fmt="o", color="C0", markersize=4, capsize=2)
    floor = scores.mean(FLOOR, metric)
    if floor is not None:
        axis.axvline(floor.mean, color="C1", linestyle="--", linewidth=1)
    axis.set_title(label(metric), fontsize=9)
    axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set_ylim(len(names) - 0.5, -0.5)
    if is_distance:
        axis.set_xscale("log", nonpositive="clip")
        axis.set_xlim(left=_smallest(names, metric, scores))
        _plain_ticks(axis)


def _plain_ticks(axis: Axes) -> None:
    low, high = axis.get_xlim()
    subs = (1,) if high / low > 300 else (1, 2, 5)
    axis.xaxis.set_major_locator(LogLocator(subs=subs))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())


def _smallest(names: Sequence[str], metric: str, scores: Scores) -> float:
    """Return the lower end of an axis: a tenth of the smallest positive mean."""
    means = [e.mean for n in names if (e := scores.mean(n, metric)) is not None and e.mean > 0]
    return max(min(means, default=1.0) / 10, 1e-4)


def draw_curve(curve: Mapping[str, Any], num_train: int, scores: Scores) -> Figure:
    """Draw the key metrics of the variants of `study.curve` against the training slices."""
    variants, nums = curve["variants"], curve["num_images"]
    figure = Figure(figsize=(10, 2.8 * len(SPACES)), layout="constrained")
    for axis, metric in zip(figure.subplots(*GRID).ravel(), SHOWN, strict=True):
        for name in variants:
            places = [(n, str(n)) for n in sorted(nums)] + [(num_train, ALL)]
            points = [
                (n, e) for n, key in places if (e := scores.mean(name, metric, key)) is not None
            ]
            if not points:
                continue
            x = [n for n, _ in points]
            y = np.array([[e.mean, e.mean - e.low, e.high - e.mean] for _, e in points])
            axis.errorbar(
                x, y[:, 0], yerr=y[:, 1:].T, marker="o", markersize=3, capsize=2, label=name
            )
        axis.set(xscale="log", xlabel="training slices")
        axis.set_title(label(metric), fontsize=9)
        if not metric.startswith("coverage"):
            axis.set_yscale("log", nonpositive="clip")
            axis.set_ylim(bottom=_smallest(variants, metric, scores))
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def draw_detector(table: pd.DataFrame) -> Figure:
    """Draw the detector's AUC on held-out tubes against the number of real slices."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axis = figure.subplots()
    for arm, colour in ((REAL, "0.4"), (BOTH, "C0"), (SYNTHETIC, "C1")):
        rows = table[["num_real", arm]].dropna() if arm in table else pd.DataFrame()
        if not len(rows):
            continue
        by_size = rows.groupby("num_real")[arm]
        axis.plot(rows["num_real"], rows[arm], ".", color=colour, alpha=0.3)
        axis.plot(by_size.mean(), "o-", color=colour, label=arm)
    axis.set(xscale="log", xlabel="real training slices", ylabel="AUC on held-out tubes")
    if axis.get_legend_handles_labels()[0]:
        sizes = sorted(table["num_real"].unique())
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
        axis.legend(frameon=False)
    return figure
