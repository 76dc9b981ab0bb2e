"""Chapters of the report, one function each: what is shown, and what would be suspicious."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markdown_it import MarkdownIt
from numpy.typing import NDArray

from tubepet import io
from tubepet.report import charts, tables
from tubepet.report.charts import Chart
from tubepet.types import Volume

MAX_SAMPLES = 500  # per model, among which the viewer looks for neighbours
NO_STUDY = (
    "The study over seeds, which alone can say that one generator beats another, has not run."
)
MAPS = {  # by what the image's note says of it (`tubepet.reconstruct.read.image_note`)
    "nominal": "that of the drawing without its defect",
    "truth": "the truth's, which knows the defect",
    "file": "the user's own",
}
STUDY_PICTURES = {
    "variants.png": "Key metrics of every variant",
    "curve.png": "Fewer training slices",
    "detector.png": "A defect detector trained with generated slices",
}


@dataclass(frozen=True)
class Picture:
    """A figure that is a picture: title, what would be suspicious, and file."""

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


@dataclass(frozen=True)
class Run:
    """What a run made, as far as the report shows it."""

    records: dict[str, Any]  # JSON: facts, metrics, verdict, slices, ct
    # table1, counts, cost, provenance, curves, verdicts, classes, one_to_one
    tables: dict[str, pd.DataFrame]
    first_tube: str
    truth: dict[str, Any]  # of the first tube, as are the volumes
    activity: Volume
    image: Volume
    labels: Volume
    samples: dict[str, NDArray[np.float32]]  # (N, ny, nx) of each model, Bq/mm3
    logs: dict[str, pd.DataFrame]  # of each model's training
    traces: dict[str, pd.DataFrame]  # of each tube's reconstruction
    recovery: pd.DataFrame  # tube, true_bq, reconstructed_bq
    paths: Mapping[str, Any]  # of pictures; `study`: its page and pictures, empty before it ran


def read_run(paths: Mapping[str, Any], models: Sequence[str], tubes: Sequence[str]) -> Run:
    """Read what the report shows; see `tubepet.report.page.make_page` for the parameters."""
    names = ("facts", "metrics", "verdict", "slices", "ct")
    traces = {t: io.read_table(path) for t, path in zip(tubes, paths["traces"], strict=True)}
    truths = {t: io.read_json(path) for t, path in zip(tubes, paths["truths"], strict=True)}
    samples = zip(models, paths["samples"], strict=True)
    return Run(
        records={name: io.read_json(paths[name]) for name in names},
        tables={
            name: io.read_table(paths[name])
            for name in (
                "table1",
                "counts",
                "cost",
                "provenance",
                "curves",
                "verdicts",
                "classes",
                "one_to_one",
            )
        },
        first_tube=tubes[0],
        truth=truths[tubes[0]],
        **{name: io.read_volume(paths[name]) for name in ("activity", "image", "labels")},
        samples={model: io.read_array(path)[:MAX_SAMPLES] for model, path in samples},
        logs={m: io.read_table(path) for m, path in zip(models, paths["logs"], strict=True)},
        traces=traces,
        recovery=pd.DataFrame(
            {
                "tube": list(tubes),
                "true_bq": [truth["activity_total_bq"] for truth in truths.values()],
                "reconstructed_bq": [float(t["total_bq"].iloc[-1]) for t in traces.values()],
            }
        ),
        paths=paths,
    )


def all_sections(run: Run) -> list[Section]:
    """Return the chapters in their order."""
    parts = (
        verdicts,
        one_to_one,
        follow,
        physics,
        reconstruction,
        learning,
        samples,
        table1,
        study,
        provenance,
    )
    return [part(run) for part in parts]


def verdicts(run: Run) -> Section:
    """Say which parts have a defect, and show one of them."""
    table = run.tables["verdicts"]
    found = table[table["is_right_place"]]
    # one that shows something; of these not the best, but the first
    shown = str((found if len(found) else table)["tube"].iloc[0])
    rows = table.drop(columns=["is_called", "distance_mm"])
    return Section(
        "verdicts",
        "Verdicts: is there a defect?",
        "Every tube's coincidences are compared with its drawing, without any image between them. "
        "Place, kind and size are those of the likeliest defect. The truth stands beside them "
        "(columns defect and defect_mm) and was not used. A part in which nothing was found may "
        "have a defect that is too small for these counts. By class: how many were found in the "
        "right place, and which size is found in half (a50) and nine of ten parts (a90; a90_95: "
        "its upper bound with 95 % confidence) where so few parts say it; the target pod measures "
        "it with more.",
        pictures=[
            Picture(
                "All parts",
                "The largest z of each part over the size of its defect; full: called. Dashed: the "
                "threshold. Suspicious: parts of size 0 above it.",
                run.paths["verdicts_figure"],
            ),
            Picture(
                f"Where the events of {shown} differ from its drawing",
                "z of the likeliest defect in three sections through the first indication (cross), "
                "with the outlines of fluid (blue) and wall (white). Values of 3 are common "
                "somewhere in a part without a defect.",
                run.paths["maps"][shown],
            ),
        ],
        tables=[("classes", run.tables["classes"].round(3)), ("verdicts", rows)],
    )


def one_to_one(run: Run) -> Section:
    """Show test tubes as drawn, after a short and a long acquisition, and enhanced."""
    table = run.tables["one_to_one"]
    means = {
        name: f"{table[f'psnr_{name}'].mean():.1f} dB, {table[f'ssim_{name}'].mean():.3f}, "
        f"{table[f'ms_ssim_{name}'].mean():.3f}"
        for name in ("short", "enhanced")
    }
    return Section(
        "one_to_one",
        "One to one: short, enhanced and long images",
        "Every tube has a second, long acquisition that shares no decay with the first. A network "
        "learns on training tubes to make the long image of the short one; these are test tubes. "
        f"PSNR, SSIM and MS-SSIM against the long image, means over "
        f"{len(table)} test tubes: short {means['short']}; enhanced {means['enhanced']}. The "
        "long image has noise of its own, so no image can reach it. An enhanced image is no "
        "measurement: what it shows beyond the short one is what training tubes look like, and "
        "most have no defect there. It may lose a defect and have better numbers.",
        pictures=[
            Picture(
                "Figure 2 of the paper, one to one, for parts with a defect",
                "For each class of defect the first test tube in which it was found in the right "
                "place, then the first whose defect was missed, in the slice that the defect "
                "changes most. Numbers are of this slice. Crosses: indications. Suspicious: "
                "detail in the enhanced image that the long one does not have.",
                run.paths["one_to_one_figure"],
            )
        ],
        tables=[("one_to_one", table)],
    )


def follow(run: Run) -> Section:
    """Follow one tube from its drawing to its image."""
    defects = ", ".join(f"{d['class']} of {d['size_mm']:.1f} mm" for d in run.truth["defects"])
    return Section(
        "follow",
        "One tube, from its drawing to its generated neighbour",
        f"{run.first_tube}: family {run.truth['family']}, {defects or 'no defect'}. Scroll through "
        "the tube with the slider or the wheel; the window sets which activity is darkest and "
        "brightest.",
        charts=[charts.draw_profile(run.activity, run.image)],
        pictures=[
            Picture(
                "The same tube in one figure",
                "Materials, true activity, sinogram of its coincidences, image. Suspicious: an "
                "image shifted against the drawing, a sinogram with gaps.",
                run.paths["follow"],
            )
        ],
    )


def physics(run: Run) -> Section:
    """Show both engines, counts, calibration."""
    return Section(
        "physics",
        "Is the simulation right?",
        "Every run simulates three tubes, drawn by its seed and made for nothing else, with GATE "
        "and with the fast engine, and compares counts and spectra of all together; a "
        "disagreement stops it, too few counts are no agreement.",
        charts=[
            charts.draw_agreement(run.records["verdict"]),
            charts.draw_counts(run.tables["counts"]),
        ],
        pictures=[
            Picture(
                "Spectra and profiles of both engines",
                "Above, pooled counts and those of each tube; below, points: GATE, steps: fast "
                "engine. Suspicious: points on one side of zero, p below 0.01.",
                run.paths["validation"],
            ),
            Picture(
                "Calibration of the scanner",
                "Pair efficiency against ring difference and distance from the axis, and the "
                "fit that all tubes use. Suspicious: points inside the source off the line.",
                run.paths["calibration"],
            ),
        ],
    )


def reconstruction(run: Run) -> Section:
    """Compare activity with the truth; show convergence and the literal 60 decays."""
    kind = run.image.note.rpartition("attenuation: ")[2]
    return Section(
        "reconstruction",
        "Are the images right?",
        "Attenuation, detection, resolution, randoms and scatter are in the model; the attenuation "
        f"map is {MAPS.get(kind, 'not recorded')}. The unit is absolute, so a "
        "tube's activity can be compared with the truth.",
        charts=[charts.draw_recovery(run.recovery), charts.draw_convergence(run.traces)],
        pictures=[
            Picture(
                "The paper's activity taken literally: 60 decays",
                "No image can be made from so few counts.",
                run.paths["literal"],
            )
        ],
    )


def learning(run: Run) -> Section:
    """Draw what the encoder and every generator logged."""
    return Section(
        "learning",
        "What the networks learnt",
        "Trained on the slices of training tubes only, and on CT of training patients.",
        charts=[
            charts.draw_pretraining(run.tables["curves"]),
            *(charts.draw_training(model, log) for model, log in run.logs.items()),
        ],
        pictures=[
            Picture("CT slices rebuilt by the VAE", "Grey scale in HU.", run.paths["rebuilt"]),
            Picture("Variance of the features", "Per cent per component.", run.paths["scree"]),
        ],
    )


def samples(run: Run) -> Section:
    """Show generated images beside real ones."""
    return Section(
        "samples",
        "Generated beside real",
        "Real slices are of tubes that no generator has seen. Pixels: "
        "results/generate/<model>/samples.npy and results/reconstruct/slices.npy, in Bq/mm³.",
        pictures=[
            Picture(
                "Figure 2 of the paper: real slices above generated ones",
                "One grey scale. Suspicious: equal images in a row (collapse).",
                run.paths["figure2"],
            ),
            Picture(
                "The samples most like a training slice",
                "Below each, that slice. Suspicious: copies.",
                run.paths["neighbours"],
            ),
        ],
    )


def table1(run: Run) -> Section:
    """Show Table 1, drawn and in numbers."""
    table = run.tables["table1"]
    return Section(
        "table1",
        "Table 1: how good are they?",
        "Each number compares a set with real slices of held-out tubes; the real rows say "
        "what a perfect generator and a mere copier would score.",
        charts=[charts.draw_table(table, run.records["metrics"]["columns"])],
        tables=[("table1", tables.with_intervals(table))],
    )


def study(run: Run) -> Section:
    """Show conclusions as the study's own page gives them, or say that it has not run."""
    title = "What the study shows"
    if not run.paths["study"]:
        return Section("study", title, f"{NO_STUDY} It runs by `snakemake study`.")
    conclusions, *pictures = run.paths["study"]
    # the page is ours, yet no HTML in it is let through
    shown = MarkdownIt("commonmark", {"html": False}).enable("table")
    text = Path(conclusions).read_text(encoding="utf-8").partition("\n")[2]
    return Section(
        "study",
        title,
        "Every variant at the same cost, over seeds; numbers in results/study/table.csv.",
        pictures=[Picture(STUDY_PICTURES[Path(p).name], "", p) for p in pictures],
        html=shown.render(text).replace("<h2>", "<h3>").replace("</h2>", "</h3>"),
    )


def provenance(run: Run) -> Section:
    """Say where the numbers come from, and what they cost."""
    return Section(
        "provenance",
        "Provenance: where the numbers come from",
        "Versions, seeds, cross sections, and what each rule cost (sums over its jobs).",
        tables=[
            ("cost", run.tables["cost"]),
            ("counts", run.tables["counts"]),
            ("provenance", run.tables["provenance"].astype(str)),
        ],
    )
