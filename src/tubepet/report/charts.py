"""Interactive charts of the report; each carries the numbers that it shows.

Colours are Okabe and Ito's, which the colour-blind can tell apart; every axis has its unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tubepet.types import Volume

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000"]
MAX_POINTS = 300  # per curve: what a screen can show
HEIGHT_PX = 380
MAX_RATIO = 50  # of the values of a metric on one linear axis


@dataclass(frozen=True)
class Chart:
    """One figure: what it shows, what would be suspicious, the drawing and its numbers."""

    name: str
    title: str
    caption: str
    figure: go.Figure
    numbers: pd.DataFrame


def _figure(x: str, y: str, **layout: Any) -> go.Figure:
    figure = go.Figure()
    _style(figure, **layout)
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y)
    return figure


def _style(figure: go.Figure, **layout: Any) -> None:
    settings: dict[str, Any] = {
        "template": "plotly_white", "colorway": COLOURS, "height": HEIGHT_PX,
        "margin": {"l": 70, "r": 20, "t": 30, "b": 60},
        "font": {"family": "system-ui, sans-serif", "size": 14, "color": "#1a1a1a"},
    }  # fmt: skip
    figure.update_layout(settings | layout)


def draw_counts(counts: pd.DataFrame) -> Chart:
    """Draw the coincidences of every tube by kind (`counts.csv`)."""
    figure = _figure("tube", "coincidences", barmode="stack")
    kinds = ["trues", "scatters", "randoms", "intrinsic"]
    for kind in kinds:
        figure.add_bar(x=counts["tube"], y=counts[kind], name=kind)
    return Chart(
        "counts",
        "Coincidences per tube",
        "Trues, scatters, randoms and intrinsic pairs (of 176Lu in the crystals) are the "
        "simulation's truth, which no reconstruction reads. "
        "Suspicious: a tube with far fewer coincidences than its neighbours.",
        figure,
        counts[["tube", "decays", *kinds]],
    )


def draw_agreement(verdict: Mapping[str, Any]) -> Chart:
    """Draw by how much the fast engine differs from GATE (`validate.transport.judge`)."""
    keys = ("percent", "percent_sigma", "tolerance")
    rows = [
        {"count": name, **{key: row[key] for key in keys}}
        for name, row in verdict["counts"].items()
    ]
    table = pd.DataFrame(rows)
    figure = _figure("fast engine over GATE / %", "")
    figure.add_bar(
        x=2 * table["tolerance"], y=table["count"], base=-table["tolerance"], orientation="h",
        marker={"color": "#ddd"}, name="tolerance",
    )  # fmt: skip
    figure.add_scatter(
        x=table["percent"], y=table["count"], mode="markers", marker={"size": 10},
        error_x={"type": "data", "array": 2 * table["percent_sigma"].astype(float)},
        name="difference",
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": "#555", "dash": "dash"})
    return Chart(
        "agreement",
        "The fast engine against GATE",
        f"Counts per decay of {len(verdict['cases'])} tubes together, bars two standard errors. "
        f"Verdict: {verdict['verdict']}. {verdict['statement']} "
        "Suspicious: a bar that does not reach the grey.",
        figure,
        table,
    )


def draw_convergence(traces: Mapping[str, pd.DataFrame]) -> Chart:
    """Draw how far each tube's log-likelihood is from its last value (`trace.csv` by tube)."""
    figure = _figure("iteration", "nats below the last iteration", showlegend=False)
    tables = []
    for tube, trace in traces.items():
        gap = trace["log_likelihood"].iloc[-1] - trace["log_likelihood"]
        shown = pd.DataFrame({"tube": tube, "iteration": trace["iteration"], "gap_nats": gap})
        tables.append(shown[:-1])
        figure.add_scatter(
            x=shown["iteration"][:-1], y=gap[:-1], name=tube, mode="lines",
            line={"color": COLOURS[0], "width": 1}, opacity=0.5,
        )  # fmt: skip
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    return Chart(
        "convergence",
        "Convergence of the reconstruction",
        "One line per tube; iteration 0 is the uniform first image, and the last one, whose "
        "distance is 0, is left out. Suspicious: a line that rises.",
        figure,
        pd.concat(tables, ignore_index=True),
    )


def draw_recovery(table: pd.DataFrame) -> Chart:
    """Draw reconstructed against true activity of each tube (tube, true_bq, reconstructed_bq)."""
    figure = _figure("true activity / Bq", "reconstructed activity / Bq", showlegend=False)
    ends = [float(table["true_bq"].min()), float(table["true_bq"].max())]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": "#555", "dash": "dash"})
    figure.add_scatter(
        x=table["true_bq"], y=table["reconstructed_bq"], text=table["tube"], mode="markers"
    )
    ratio = table["reconstructed_bq"] / table["true_bq"]
    return Chart(
        "recovery",
        "Activity of the whole tube: reconstructed against true",
        f"Reconstructed over true: {ratio.mean():.3f} on average, standard deviation "
        f"{ratio.std(ddof=0):.3f}. Dashed: equal. Suspicious: points on another line through 0 "
        "(calibration), or that leave the line with size (scatter, randoms).",
        figure,
        table,
    )


def draw_profile(activity: Volume, image: Volume) -> Chart:
    """Draw true and reconstructed activity along x through the middle of one tube."""
    figure = _figure("x / mm", "activity / Bq/mm³")
    tables = []
    for name, volume in (("true", activity), ("reconstructed", image)):
        line = volume.array[volume.grid.shape[0] // 2, volume.grid.shape[1] // 2]
        shown = pd.DataFrame({"curve": name, "x_mm": volume.grid.axes_mm()[2], "bq_mm3": line})
        tables.append(shown)
        figure.add_scatter(x=shown["x_mm"], y=shown["bq_mm3"], name=name, mode="lines")
    return Chart(
        "profile",
        "Profile through the middle of the tube",
        "Suspicious: a plateau that misses the truth by more than the noise, a shift.",
        figure,
        pd.concat(tables, ignore_index=True),
    )


def draw_pretraining(curves: pd.DataFrame) -> Chart:
    """Draw both terms of the VAE's loss (`pretrain/curves.csv`)."""
    names = {"reconstruction_nats": "reconstruction", "kl_nats": "Kullback-Leibler"}
    figure = make_subplots(rows=1, cols=2, subplot_titles=list(names.values()))
    _style(figure)
    for column, quantity in enumerate(names, start=1):
        for number, (split, rows) in enumerate(curves.groupby("split", sort=False)):
            shown = _thinned(rows)
            figure.add_scatter(
                x=shown["step"], y=shown[quantity], name=str(split), legendgroup=str(split),
                showlegend=column == 1, line={"color": COLOURS[number], "width": 1},
                row=1, col=column,
            )  # fmt: skip
    figure.update_xaxes(title="training step")
    figure.update_yaxes(title="nats per image")
    figure.update_yaxes(type="log", exponentformat="power", dtick=1, row=1, col=1)
    return Chart(
        "pretraining",
        "Learning curves of the CT encoder (VAE)",
        "Suspicious: a validation curve that turns upwards, a KL that falls to zero.",
        figure,
        curves,
    )


def draw_training(model: str, log: pd.DataFrame) -> Chart:
    """Draw everything that a generator's training logged (`generate/<model>/log.csv`)."""
    names = [str(name) for name in log.columns if name != "step" and (log[name] != 0).any()]
    num_rows = -(-len(names) // 3)
    titles = [name.replace("_", " ") for name in names]
    figure = make_subplots(
        rows=num_rows, cols=3, subplot_titles=titles, vertical_spacing=0.3 / max(num_rows, 1)
    )
    _style(figure, showlegend=False, height=90 + 220 * num_rows)
    shown = _thinned(log)
    for i, name in enumerate(names):
        figure.add_scatter(
            x=shown["step"], y=shown[name], line={"color": COLOURS[0], "width": 1},
            row=i // 3 + 1, col=i % 3 + 1,
        )  # fmt: skip
    figure.update_xaxes(title="generator step", row=num_rows)
    return Chart(
        f"training_{model}",
        f"Training of {model}",
        "Losses of adversarial models do not fall; they have no unit. Suspicious: a critic's loss "
        "near zero (it has won). Terms that are switched off are left out. Every step: "
        f"results/generate/{model}/log.csv.",
        figure,
        shown,
    )


def _thinned(table: pd.DataFrame) -> pd.DataFrame:
    """Return at most `MAX_POINTS` rows at even steps, the last one included."""
    rows = np.unique(np.linspace(0, len(table) - 1, min(MAX_POINTS, len(table))).round())
    return table.iloc[rows.astype(int)]


def draw_table(table: pd.DataFrame, descriptions: Mapping[str, str]) -> Chart:
    """Draw every metric of Table 1 that has an interval, a panel each."""
    metrics = [str(name) for name in table if f"{name}_low" in table]
    num_rows = -(-len(metrics) // 3)
    figure = make_subplots(
        rows=num_rows, cols=3, subplot_titles=metrics, shared_yaxes=True,
        vertical_spacing=0.28 / max(num_rows, 1),
    )  # fmt: skip
    _style(figure, showlegend=False, height=100 + 60 * num_rows + 26 * num_rows * len(table))
    colours = [COLOURS[1] if " " in str(name) else COLOURS[0] for name in table["model"]]
    for i, metric in enumerate(metrics):
        value, low, high = (table[metric + end].astype(float) for end in ("", "_low", "_high"))
        figure.add_scatter(
            x=value, y=table["model"], mode="markers", marker={"size": 9, "color": colours},
            error_x={
                "type": "data", "array": high - value, "arrayminus": value - low,
                "color": "#555",
            },
            row=i // 3 + 1, col=i % 3 + 1,
        )  # fmt: skip
        known = value[np.isfinite(value)]
        if len(known) and known.min() > 0 and known.max() > MAX_RATIO * known.min():
            figure.update_xaxes(type="log", exponentformat="power", row=i // 3 + 1, col=i % 3 + 1)
        text = descriptions.get(metric, "").partition("; median of")[0]
        figure.layout.annotations[i].hovertext = text
    figure.update_yaxes(autorange="reversed", automargin=True)
    columns = ["model", *(metric + end for metric in metrics for end in ("", "_low", "_high"))]
    return Chart(
        "table1",
        "Table 1 as a picture",
        "Median and 95 % interval of each metric, on a logarithmic axis where values differ fifty "
        "times. Orange: real slices, which no generator beats honestly. Suspicious: a value better "
        "than theirs. Two generators differ only where their intervals part.",
        figure,
        table[columns],
    )
