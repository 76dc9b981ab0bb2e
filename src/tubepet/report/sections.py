"""Compose the chapters of the report, one function each, from the results of a run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from markdown_it import MarkdownIt

from tubepet import io
from tubepet.report import charts, claims, columns, tables
from tubepet.report.charts import Chart
from tubepet.report.viewer import Seen

NO_STUDY = "The study over seeds has not run; the target study runs it."
MAPS = {  # attenuation maps, by the image's note (`tubepet.reconstruct.read.image_note`)
    "nominal": "that of the drawing without its defect",
    "truth": "the truth's, which knows the defect",
    "file": "the user's own",
}
STUDY_PICTURES = {
    "claims.png": "What decides: distances of all variants, and claims",
    "variants.png": "Key metrics of every variant",
    "curve.png": "Fewer training slices",
    "detector.png": "A defect detector trained with generated slices",
}
RECORDS = ("facts", "metrics", "verdict", "slices", "ct", "followed")
TABLES = (
    "table1", "counts", "cost", "provenance", "curves", "verdicts", "classes", "one_to_one"
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A picture from a file; the caption says what would be suspicious."""

    title: str
    caption: str
    path: str


@dataclass(frozen=True)
class Table:
    """A table; its name is a key of `columns.NAMES`."""

    name: str
    title: str
    numbers: pd.DataFrame
    is_folded: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> pd.DataFrame:
        """The table with intervals in cells and names for readers."""
        return columns.named(self.name, tables.with_intervals(self.numbers))


@dataclass(frozen=True)
class Section:
    """A chapter of the report; if it is folded, readers first see title and text only."""

    name: str
    label: str  # in the list of contents
    title: str
    text: str
    caveats: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    html: str = ""
    is_folded: bool = False


@dataclass(frozen=True)
class Run:
    """The results of a run that the report shows."""

    records: dict[str, Any]  # JSON, by `RECORDS`
    tables: dict[str, pd.DataFrame]  # by `TABLES`
    seen: dict[str, Callable[[], Seen]]  # reads a tube, by name
    note: str  # of an image
    logs: dict[str, pd.DataFrame]  # of trainings, by model
    traces: dict[str, pd.DataFrame]  # of reconstructions, by tube
    recovery: pd.DataFrame  # tube, true_bq, reconstructed_bq
    false_call_rate: float  # that the threshold is set for
    paths: Mapping[str, Any]  # of pictures; `study` and `pod` are empty if these have not run


def read_run(
    paths: Mapping[str, Any], models: Sequence[str], tubes: Sequence[str], false_call_rate: float
) -> Run:
    """Read the results of a run; for the parameters see `tubepet.report.page.make_page`."""
    of_tube = {
        kind: dict(zip(tubes, paths[kind], strict=True))
        for kind in ("labels", "images", "references", "maps", "truths", "found", "traces")
    }
    traces = {tube: io.read_table(path) for tube, path in of_tube["traces"].items()}
    seen: dict[str, Callable[[], Seen]] = {
        tube: partial(_seen, *(of_tube[kind][tube] for kind in list(of_tube)[:-1]))
        for tube in tubes
    }
    activities = [io.read_json(path)["activity_total_bq"] for path in of_tube["truths"].values()]
    first = seen[tubes[0]]()
    return Run(
        records={name: io.read_json(paths[name]) for name in RECORDS},
        tables={name: io.read_table(paths[name]) for name in TABLES},
        seen=seen,
        note=first.short.note,
        logs={m: io.read_table(path) for m, path in zip(models, paths["logs"], strict=True)},
        traces=traces,
        recovery=pd.DataFrame(
            {
                "tube": list(tubes),
                "true_bq": activities,
                "reconstructed_bq": [float(t["total_bq"].iloc[-1]) for t in traces.values()],
            }
        ),
        false_call_rate=false_call_rate,
        paths=paths,
    )


def _seen(labels: str, short: str, long: str, score_map: str, truth: str, found: str) -> Seen:
    return Seen(
        io.read_volume(labels),
        io.read_volume(short),
        io.read_volume(long),
        io.read_volume(score_map),
        io.read_json(truth),
        io.read_json(found),
    )


def all_sections(run: Run) -> list[Section]:
    """Return the chapters in their order."""
    parts = (
        verdict,
        part,
        viewer,
        one_to_one,
        generators,
        images,
        physics,
        study,
        provenance,
        learning,
    )
    return [part(run) for part in parts]


def verdict(run: Run) -> Section:
    """Say which parts have a defect, how sure that is, and which sizes are found."""
    verdicts, classes = run.tables["verdicts"], run.tables["classes"]
    rows = verdicts.drop(columns=["is_called", "distance_mm"])
    found_in = classes["class"].map(claims.where(verdicts)).fillna("")
    shown = classes.drop(columns=["smallest_mm", "largest_mm"]).assign(found_in=found_in)
    pod = [
        Picture(
            "Probability of detection, from parts simulated for it",
            "Lines: probability that a defect of this size is found in the right place, with 95 % "
            "confidence. Suspicious: a line that falls.",
            path,
        )
        for path in run.paths["pod"]
    ]
    return Section(
        "verdict",
        "Verdict",
        "Verdict",
        "Each part's coincidences are compared with its drawing, without an image between them; "
        "the truth was not used.",
        claims.doubts(classes, run.false_call_rate),
        [charts.draw_found(verdicts)],
        [
            Table(
                "classes",
                "Found by class of defect (none: called falsely), with 95 % intervals. a50, a90: "
                "size found in half and in nine of ten parts; a90/95: its upper bound",
                shown,
            ),
            Table("verdicts", "Every part: verdict beside the truth", rows, is_folded=True),
        ],
        pod,
    )


def part(run: Run) -> Section:
    """Follow one part with a defect from its drawing to its indication."""
    facts = run.records["followed"]
    defects = ", ".join(f"a {d['class']} of {d['size_mm']:.1f} mm" for d in facts["defects"])
    found = f"Verdict: {facts['verdict']}, largest z {facts['largest_z']:.1f}"
    if facts["threshold_z"] is not None:
        found += f" where {facts['threshold_z']:.1f} is needed (p = {facts['p_value']:.2g})"
    for one in facts["indications"][:1]:
        kind = one["kind"].replace("_", " ")
        found += f"; taken for a {kind} of {one['size_mm']:.1f} mm"
    no_defect = [] if defects else ["No test part has a defect: the part shown has none either."]
    why = (
        " It is the first test part whose defect was found in the right place; if there is none, "
        "the first whose defect was missed."
    )
    return Section(
        "part",
        "One part",
        "One part, from its drawing to its indication",
        f"{facts['tube']}, {facts['family'].replace('_', ' ')}, has {defects or 'no defect'}. "
        f"{found}.{why if defects else ''}",
        no_defect,
        pictures=[
            Picture(
                f"{facts['tube']}: drawing, short, enhanced and long image, indications",
                "Two cuts through the defect, cropped to the part: across (xy) and along (xz). "
                "Red: box of the true defect. Crosses: indications. z of 3 is common somewhere in "
                "a part without a defect. Suspicious: a cross far from the box.",
                run.paths["follow"],
            )
        ],
    )


def viewer(run: Run) -> Section:
    """Let readers look at any part, in the viewer of the page."""
    return Section(
        "viewer",
        "Any part",
        f"Look at any of the {len(run.seen)} parts",
        "Red: boxes of true defects. Crosses: indications. Values are rounded to 1/255 of the "
        "brightest one; the files results/reconstruct/<tube>/image.nii.gz are exact.",
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
        "Enhanced images",
        "Short, enhanced and long images",
        "Every part has a second, long acquisition that shares no decay with the first. A network "
        "learns on training parts to make the long image of the short one; these are test parts. "
        f"{claims.enhancement(table)} PSNR, SSIM and MS-SSIM against the long image, means: short "
        f"{means['short']}; enhanced {means['enhanced']}. The long image has noise of its own, so "
        "no image can reach it.",
        [
            "An enhanced image is no measurement: it may lose a defect and have better numbers, "
            "for most training parts have none there."
        ],
        pictures=[
            Picture(
                "Figure 2 of the paper, one to one",
                "For each class of defect the first test part in which it was found in the right "
                "place, then the first whose defect was missed, in the slice that the defect "
                "changes most. Suspicious: detail in the enhanced image that the long one does not "
                "have.",
                run.paths["one_to_one_figure"],
            )
        ],
        tables=[Table("one_to_one", "Test parts against the long images", table, is_folded=True)],
    )


def generators(run: Run) -> Section:
    """Show generated images beside held-out ones, and Table 1."""
    table, metrics = run.tables["table1"], run.records["metrics"]
    broken = claims.broken(table)
    marked = table.assign(model=[f"{m} (broken)" if m in broken else m for m in table["model"]])
    main, rest = columns.main_and_rest(marked)
    notes = {
        key: text.partition("; median of")[0]
        for key, text in metrics["columns"].items()
        if key in table
    }
    left_out = len(claims.for_readers(list(run.logs), table)) < len(run.logs)
    return Section(
        "generators",
        "Generated images",
        "Generated images",
        "Generators make slices; each number compares them with slices of simulated tubes that no "
        "generator has seen (held-out). Between the generators stand slices of the training tubes, "
        "which nobody beats honestly, and a perfect copier of them.",
        [
            claims.TRAINED_ONCE,
            *run.records["facts"]["caveats"]["generators"],
            *([claims.about_broken(broken, left_out)] if broken else []),
            *claims.gathered(metrics["statements"], [str(name) for name in table["model"]]),
        ],
        [charts.draw_table(marked, notes)],
        [
            Table("table1", f"Table 1. {_draws(metrics['columns'])}", main),
            Table("table1", "The other numbers", rest, is_folded=True, notes=notes),
        ],
        [
            Picture(
                "Figure 2 of the paper: held-out slices above generated ones",
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


def _draws(notes: Mapping[str, str]) -> str:
    """Return a sentence on what the numbers are medians of, from the common end of their notes."""
    ends = {text.partition("; median of")[2] for text in notes.values()} - {""}
    return f"Each number is the median of{min(ends)}, with its 95 % interval." if ends else ""


def images(run: Run) -> Section:
    """Compare activity with the truth; show convergence, and the image of 60 decays."""
    kind = run.note.rpartition("attenuation: ")[2]
    return Section(
        "images",
        "Images",
        "Are the images right?",
        "Attenuation, detection, resolution, randoms and scatter are in the model; the attenuation "
        f"map is {MAPS.get(kind, 'not recorded')}. The unit is absolute, so the "
        "activity of a part can be compared with the truth.",
        run.records["facts"]["caveats"]["images"],
        [charts.draw_recovery(run.recovery), charts.draw_convergence(run.traces)],
        pictures=[
            Picture(
                "The paper's activity taken literally: 60 decays",
                "No image can be made from so few counts.",
                run.paths["literal"],
            )
        ],
    )


def physics(run: Run) -> Section:
    """Compare both engines; show counts and calibration."""
    return Section(
        "physics",
        "Simulation",
        "Is the simulation right?",
        "Every run simulates three tubes, drawn by its seed and made for nothing else, with GATE "
        "and with the fast engine, and compares counts and spectra of all together; a "
        "disagreement stops it, too few counts are no agreement.",
        run.records["facts"]["caveats"]["physics"],
        [
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


def study(run: Run) -> Section:
    """Show the study's page of conclusions, or say that it has not run."""
    title = "Study", "What the study over seeds shows"
    if not run.paths["study"]:
        return Section("study", *title, NO_STUDY)
    conclusions, *pictures = run.paths["study"]
    # the page is ours; even so, HTML in it is escaped
    shown = MarkdownIt("commonmark", {"html": False}).enable("table")
    lines = Path(conclusions).read_text(encoding="utf-8").splitlines()[1:]
    text = "\n".join(line for line in lines if not line.startswith("!["))  # figures come below
    return Section(
        "study",
        *title,
        "Every variant at the same cost, over seeds; numbers in results/study/table.csv.",
        pictures=[Picture(STUDY_PICTURES[Path(p).name], "", p) for p in pictures],
        html=shown.render(text).replace("<h2>", "<h3>").replace("</h2>", "</h3>"),
    )


def provenance(run: Run) -> Section:
    """Say where the numbers come from, and what they cost."""
    kept = {name: run.tables[name] for name in ("cost", "counts", "provenance")}
    kept["provenance"] = kept["provenance"].astype(str)
    return Section(
        "provenance",
        "Provenance",
        "Provenance: where the numbers come from",
        "Versions, seeds, cross sections, and what each rule cost (sums over its jobs).",
        tables=[Table(name, tables.TITLES[name], table) for name, table in kept.items()],
        is_folded=True,
    )


def learning(run: Run) -> Section:
    """Draw the logs of the CT encoder and of every generator."""
    return Section(
        "learning",
        "Loss curves",
        "Loss curves",
        "Trained on the slices of training tubes only, and on CT of training patients.",
        charts=[
            charts.draw_pretraining(run.tables["curves"]),
            *(charts.draw_training(model, log) for model, log in run.logs.items()),
        ],
        pictures=[
            Picture("CT slices rebuilt by the VAE", "Grey scale in HU.", run.paths["rebuilt"]),
            Picture("Variance of the features", "Per cent per component.", run.paths["scree"]),
        ],
        is_folded=True,
    )
