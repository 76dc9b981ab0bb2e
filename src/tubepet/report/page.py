"""The report: one HTML file with everything in it, for reading offline and for printing.

Last stage of the flow: it shows what the others wrote and computes no science.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from PIL import Image
from plotly.offline import get_plotlyjs

from tubepet import figure_data, io
from tubepet.errors import reading
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.report import charts, tables, viewer
from tubepet.report.charts import Chart

MAX_SAMPLES = 500  # per model, among which the viewer looks for neighbours
STAGES = {
    "01_phantom": "tubes with defects, drawn from the config",
    "02_simulate": "decays to coincidences, by GATE or the fast engine",
    "03_reconstruct": "list-mode MLEM, images in Bq/mm³",
    "04_ct": "CT slices",
    "05_pretrain": "a VAE learns CT",
    "06_features": "PCA and PCANet of the positron slices",
    "07_gan": "generators learn the positron slices",
    "08_evaluate": "against tubes that no model has seen",
    "09_report": "this page",
}

NO_STUDY = (
    "The study over seeds, which alone can say that one generator beats another, has not run."
)
PICTURES = {
    "variants.png": "Key metrics of every variant",
    "curve.png": "Fewer training slices",
    "detector.png": "A defect detector trained with generated slices",
}


@dataclass(frozen=True)
class Picture:
    """A figure that is a picture: file, title, and what would be suspicious."""

    title: str
    caption: str
    path: str


@dataclass(frozen=True)
class Section:
    """A chapter of the report."""

    name: str
    title: str
    text: str
    charts: list[Chart] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[tuple[str, pd.DataFrame]] = field(default_factory=list)
    html: str = ""


def flow(
    cost: pd.DataFrame, stage_of_rule: Mapping[str, str], notes: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return a row per stage: name, what it does, what it made, jobs, summed seconds.

    Parameters
    ----------
    cost : DataFrame
        `tables.cost`.
    stage_of_rule : mapping
        The rule file (without suffix) of every rule.
    notes : mapping
        What came out, by stage.
    """
    stage = cost["rule"].map(dict(stage_of_rule))
    rows = []
    for name, what in STAGES.items():
        mine = cost[stage == name]
        rows.append(
            {
                "name": name.replace("_", " "),
                "what": what,
                "made": notes.get(name, ""),
                "jobs": int(mine["jobs"].sum()),
                "seconds": float(mine["wall_s"].sum()),
            }
        )
    return rows


def make_page(
    template: str,
    paths: Mapping[str, Any],
    models: list[str],
    tubes: list[str],
    stage_of_rule: Mapping[str, str],
) -> str:
    """Write the report.

    Parameters
    ----------
    template : str
        `workflow/report/page.html` (Jinja2).
    paths : mapping
        Inputs of the rule `make_report` by name; `samples` and `logs` by model, `traces` and
        `truths` by tube, in the order of `models` and `tubes`.
    models, tubes : list of str
    stage_of_rule : mapping
        The rule file (without suffix) of every rule.

    Returns
    -------
    str
        HTML that needs no other file.
    """
    facts, metrics, verdict, slices, ct = (
        io.read_json(paths[name]) for name in ("facts", "metrics", "verdict", "slices", "ct")
    )
    table1, counts, cost = (io.read_table(paths[name]) for name in ("table1", "counts", "cost"))
    labels, activity, image = (
        io.read_volume(paths[name]) for name in ("labels", "activity", "image")
    )
    samples = {
        model: io.read_array(path)[:MAX_SAMPLES]
        for model, path in zip(models, paths["samples"], strict=True)
    }
    traces = {t: io.read_table(path) for t, path in zip(tubes, paths["traces"], strict=True)}
    truths = {t: io.read_json(path) for t, path in zip(tubes, paths["truths"], strict=True)}
    logs = {m: io.read_table(path) for m, path in zip(models, paths["logs"], strict=True)}
    notes = {
        "01_phantom": f"{len(tubes)} tubes",
        "02_simulate": f"{counts['decays'].sum():,} decays, {counts['prompts'].sum():,} counts",
        "03_reconstruct": ", ".join(f"{n} {s}" for s, n in slices["num_slices"].items())
        + " slices",
        "04_ct": f"{ct['num_slices']} slices, "
        + ("stand-in" if ct["is_standin"] else "real patients"),
        "07_gan": ", ".join(models),
        "08_evaluate": f"{metrics['num_test_tubes']} held-out tubes",
    }
    recovery = charts.draw_recovery(
        {t: one["activity_total_bq"] for t, one in truths.items()},
        {t: float(trace["total_bq"].iloc[-1]) for t, trace in traces.items()},
    )
    truth = truths[tubes[0]]
    defects = ", ".join(f"{d['class']} of {d['size_mm']:.1f} mm" for d in truth["defects"])
    sections = [
        Section(
            "follow",
            "One tube, from its drawing to its generated neighbour",
            f"{tubes[0]}: family {truth['family']}, {defects or 'no defect'}. Scroll through the "
            "tube with the slider or the wheel; the window sets which activity is darkest and "
            "brightest.",
            charts=[charts.draw_profile(activity, image)],
            pictures=[
                Picture(
                    "The same tube in one figure",
                    "Materials, true activity, sinogram of its coincidences, image. Suspicious: an "
                    "image shifted against the drawing, a sinogram with gaps.",
                    paths["follow"],
                )
            ],
        ),
        Section(
            "physics",
            "Is the simulation right?",
            "Every run simulates one tube with GATE and with the fast engine and compares counts "
            "and spectra; a disagreement stops it.",
            charts=[charts.draw_agreement(verdict), charts.draw_counts(counts)],
            pictures=[
                Picture(
                    "Spectra and profiles of both engines",
                    "Points: GATE; steps: fast engine. Suspicious: p below 0.01.",
                    paths["validation"],
                ),
                Picture(
                    "Calibration of the scanner",
                    "Pair efficiency against ring difference and distance from the axis, and the "
                    "fit that all tubes use. Suspicious: points inside the source off the line.",
                    paths["calibration"],
                ),
            ],
        ),
        Section(
            "reconstruction",
            "Are the images right?",
            "List-mode MLEM with attenuation, detection, resolution, randoms and scatter in the "
            "model; the unit is absolute, so a tube's activity can be compared with the truth.",
            charts=[recovery, charts.draw_convergence(traces)],
            pictures=[
                Picture(
                    "The paper's activity taken literally: 60 decays",
                    "No image can be made from so few counts.",
                    paths["literal"],
                )
            ],
        ),
        Section(
            "learning",
            "What the networks learnt",
            "Trained on the slices of training tubes only, and on CT of training patients.",
            charts=[
                charts.draw_pretraining(io.read_table(paths["curves"])),
                *(charts.draw_training(model, log) for model, log in logs.items()),
            ],
            pictures=[
                Picture("CT slices rebuilt by the VAE", "Grey scale in HU.", paths["rebuilt"]),
                Picture("Variance of the features", "Per cent per component.", paths["scree"]),
            ],
        ),
        Section(
            "samples",
            "Generated beside real",
            "Real slices are of tubes that no generator has seen. Pixels: "
            "results/gan/<model>/samples.npy and results/reconstruct/slices.npy, in Bq/mm³.",
            pictures=[
                Picture(
                    "Figure 2 of the paper: real slices above generated ones",
                    "One grey scale. Suspicious: equal images in a row (collapse).",
                    paths["figure2"],
                ),
                Picture(
                    "The samples most like a training slice",
                    "Below each, that slice. Suspicious: copies.",
                    paths["neighbours"],
                ),
            ],
        ),
        Section(
            "table1",
            "Table 1: how good are they?",
            "Each number compares a set with real slices of held-out tubes; the real rows say "
            "what a perfect generator and a mere copier would score.",
            charts=[charts.draw_table(table1, metrics["columns"])],
            tables=[("table1", tables.with_intervals(table1))],
        ),
        _study(paths["study"]),
        Section(
            "provenance",
            "Provenance: where the numbers come from",
            "Versions, seeds, cross sections, and what each rule cost (sums over its jobs).",
            tables=[
                ("cost", cost),
                ("counts", counts),
                ("provenance", io.read_table(paths["provenance"]).astype(str)),
            ],
        ),
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["png"] = _png
    environment.filters["has_numbers"] = lambda path: figure_data.of_png(path) is not None
    environment.filters["csv"] = lambda table: table.to_csv(index=False)
    environment.filters["chart"] = lambda figure: figure.to_json().replace("<", "\\u003c")
    return environment.from_string(template).render(
        sentences=facts["sentences"]
        + metrics["statements"]
        + ([] if paths["study"] else [NO_STUDY]),
        flow=flow(cost, stage_of_rule, notes),
        sections=sections,
        titles=tables.TITLES,
        short=in_short(recovery.numbers, table1),
        notes={key: text.partition("; median of")[0] for key, text in metrics["columns"].items()},
        draws=_draws(metrics["columns"]),
        c2st=_automatic_readers(table1),
        viewer=viewer.viewer_data(labels, activity, image, samples),
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
    )


def in_short(recovery: pd.DataFrame, table1: pd.DataFrame) -> list[str]:
    """Return what came out, a sentence each; a number that is undefined has none.

    Parameters
    ----------
    recovery : DataFrame
        true_bq and reconstructed_bq of every tube.
    table1 : DataFrame
        `table1.csv`.
    """
    ratio = recovery["reconstructed_bq"] / recovery["true_bq"]
    sentences = [
        f"Images: reconstructed over true activity is {ratio.mean():.3f} on average over "
        f"{len(ratio)} tubes (standard deviation {ratio.std(ddof=0):.3f})."
    ]
    shown = {row["model"]: row for row in tables.with_intervals(table1).to_dict("records")}
    distance = table1.set_index("model")["frechet"].astype(float)
    distance = distance.drop([FLOOR, COPY], errors="ignore").dropna()
    if len(distance):
        best = str(distance.idxmin())
        among = f"the smallest of {len(distance)}" if len(distance) > 1 else "the only one"
        sentence = (
            f"Generators, trained once each: {best} has {among} Fréchet distances to held-out "
            f"slices, {shown[best]['frechet']}; real slices of other tubes have "
            f"{shown[FLOOR]['frechet']}."
        )
        if shown[best].get("c2st"):
            sentence += (
                f" A classifier tells its images from real ones with accuracy "
                f"{shown[best]['c2st']} (0.5: it cannot)."
            )
        sentences.append(sentence)
    return sentences


def _draws(notes: Mapping[str, str]) -> str:
    """Return what the notes of the metrics end with, all alike: of what they are medians."""
    ends = {text.partition("; median of")[2] for text in notes.values()} - {""}
    return f"Each is the median of{min(ends)}." if ends else ""


def _study(paths: Sequence[str]) -> Section:
    """Conclusions of the study as its own page gives them, or that it has not run."""
    title = "What the study shows"
    if not paths:
        return Section("study", title, f"{NO_STUDY} It runs by `snakemake study`.")
    conclusions, *pictures = paths
    # the page is ours, yet no HTML in it is let through
    shown = MarkdownIt("commonmark", {"html": False}).enable("table")
    text = Path(conclusions).read_text(encoding="utf-8").partition("\n")[2]
    return Section(
        "study",
        title,
        "Every variant at the same cost, over seeds; numbers in results/study/table.csv.",
        pictures=[Picture(PICTURES[Path(p).name], "", p) for p in pictures],
        html=shown.render(text).replace("<h2>", "<h3>").replace("</h2>", "</h3>"),
    )


def _png(path: str) -> str:
    with reading(path, "a whole PNG"), Image.open(path, formats=("PNG",)) as image:
        image.verify()  # its CRC
    return base64.b64encode(Path(path).read_bytes()).decode()


def _automatic_readers(table1: pd.DataFrame) -> list[tuple[str, str]]:
    """Model and accuracy of the classifier two-sample test, where Table 1 has it."""
    if "c2st" not in table1:
        return []
    shown = tables.with_intervals(table1)
    return list(zip(shown["model"], shown["c2st"], strict=True))
