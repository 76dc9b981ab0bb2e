"""Draw the interactive charts of the report, each with a table of its numbers.

The colours of Okabe and Ito can be told apart by colour-blind readers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from tubepet.report import columns

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/
COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"]
GRID = "rgba(128, 128, 128, 0.35)"  # on a light and on a dark page
GREY = "#808080"  # likewise
MAX_POINTS = 300  # per curve; a screen shows no more
HEIGHT_PX = 380
MAX_RATIO = 50  # of largest to smallest value; beyond it an axis is logarithmic


@dataclass(frozen=True)
class Chart:
    """One figure; the caption says what it shows and what would be suspicious."""

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
        "paper_bgcolor": "rgba(0, 0, 0, 0)", "plot_bgcolor": "rgba(0, 0, 0, 0)",
    }  # fmt: skip
    figure.update_layout(settings | layout)
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(gridcolor=GRID, zerolinecolor=GRID, automargin=True)


def draw_found(verdicts: pd.DataFrame) -> Chart:
    """Draw which sizes of defects were found, in a line per class (`verdicts.csv`)."""
    table = verdicts[verdicts["defect"] != "none"]
    right, called = table["is_right_place"], table["is_called"]
    looks = (
        ("found in the right place", right, {"symbol": "circle", "color": COLOURS[0]}),
        ("called, but elsewhere", called & ~right, {"symbol": "x", "color": COLOURS[3]}),
        ("missed", ~called, {"symbol": "circle-open", "color": GREY}),
    )
    height = 180 + 40 * table["defect"].nunique()
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.0}
    figure = _figure("size of the defect / mm", "", legend=legend, height=height, showlegend=True)
    for name, rows, marker in looks:
        shown = table[rows]
        figure.add_scatter(
            x=shown["defect_mm"], y=shown["defect"], text=shown["tube"], name=name,
            mode="markers", marker={"size": 11, "line": {"width": 2}, **marker},
        )  # fmt: skip
    figure.update_yaxes(categoryorder="category descending", type="category")
    keys = ["tube", "defect", "defect_mm", "is_called", "is_right_place", "largest_z"]
    return Chart(
        "found",
        "Found by size",
        f"One mark per part with a defect, {len(table)} in all. Suspicious: small ones found where "
        "large ones of the class are missed.",
        figure,
        table[keys],
    )


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
    """Draw the difference of the fast engine from GATE (`validate.transport.judge`)."""
    keys = ("percent", "percent_sigma", "tolerance")
    rows = [
        {"count": name, **{key: row[key] for key in keys}}
        for name, row in verdict["counts"].items()
    ]
    table = pd.DataFrame(rows)
    figure = _figure("fast engine over GATE / %", "")
    figure.add_bar(
        x=2 * table["tolerance"], y=table["count"], base=-table["tolerance"], orientation="h",
        marker={"color": GRID}, name="tolerance",
    )  # fmt: skip
    figure.add_scatter(
        x=table["percent"], y=table["count"], mode="markers", marker={"size": 10},
        error_x={"type": "data", "array": 2 * table["percent_sigma"].astype(float)},
        name="difference",
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": GREY, "dash": "dash"})
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
    """Draw the distance of each tube's log-likelihood from its last value (`trace.csv` by tube)."""
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
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": GREY, "dash": "dash"})
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
    """Draw all quantities that a generator's training logged (`generate/<model>/log.csv`)."""
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
    """Draw the main metrics of Table 1 with intervals, one panel each."""
    metrics = [
        name for name in columns.MAIN if f"{name}_low" in table and table[name].notna().any()
    ]
    figure = make_subplots(
        rows=max(len(metrics), 1), cols=1, vertical_spacing=0.32 / max(len(metrics), 1),
        subplot_titles=[columns.NAMES["table1"][name] for name in metrics],
    )  # fmt: skip
    _style(figure, showlegend=False, height=100 + len(metrics) * (70 + 26 * len(table)))
    names = table["model"].replace(columns.ROWS)
    colours = [COLOURS[1] if model in columns.ROWS else COLOURS[0] for model in table["model"]]
    for i, metric in enumerate(metrics):
        value, low, high = (table[metric + end].astype(float) for end in ("", "_low", "_high"))
        figure.add_scatter(
            x=value, y=names, mode="markers", marker={"size": 9, "color": colours},
            error_x={
                "type": "data", "array": high - value, "arrayminus": value - low,
                "color": GREY,
            },
            row=i + 1, col=1,
        )  # fmt: skip
        known = value[np.isfinite(value)]
        if len(known) and known.min() > 0 and known.max() > MAX_RATIO * known.min():
            figure.update_xaxes(type="log", exponentformat="power", dtick=1, row=i + 1, col=1)
        figure.layout.annotations[i].update(
            hovertext=descriptions.get(metric, ""), font_size=14, x=0, xanchor="left", xshift=-90
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    kept = ["model", *(metric + end for metric in metrics for end in ("", "_low", "_high"))]
    return Chart(
        "table1",
        "Table 1 as a picture",
        "Median and 95 % interval, on a logarithmic axis where values differ fifty times. Orange: "
        "simulated slices, which no generator beats honestly. Suspicious: a value better than "
        "theirs. Two generators differ only where their intervals part.",
        figure,
        table[kept],
    )
