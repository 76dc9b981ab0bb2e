"""The report: one HTML file with everything in it, for reading offline and for printing.

Last stage of the flow: it shows what the others wrote and computes no science.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from PIL import Image
from plotly.offline import get_plotlyjs

from tubepet import figure_data
from tubepet.errors import reading
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.report import sections, tables, viewer
from tubepet.report.sections import Run

STAGES = {  # by what their rule files are called, whose numbers are the order
    "phantom": "tubes with defects, drawn from the config",
    "simulate": "decays to coincidences, by GATE or the fast engine",
    "reconstruct": "list-mode MLEM, images in Bq/mm³",
    "ct": "CT slices",
    "pretrain": "a VAE learns CT",
    "features": "PCA and PCANet of the positron slices",
    "generate": "generators learn the positron slices",
    "evaluate": "against tubes that no model has seen",
    "enhance": "long images from short ones, one to one",
    "inspect": "a verdict on every tube, from its events and drawing",
    "report": "this page",
}


def flow(run: Run, stage_of_rule: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a row per stage: name, what it does, what it made, jobs, summed seconds."""
    cost, made = run.tables["cost"], _made(run)
    stages = cost["rule"].map(dict(stage_of_rule))
    rows = []
    for stage in sorted(set(stage_of_rule.values())):
        number, _, name = stage.partition("_")
        if name in STAGES:
            mine = cost[stages == stage]
            rows.append(
                {
                    "name": f"{number} {name}",
                    "what": STAGES[name],
                    "made": made.get(name, ""),
                    "jobs": int(mine["jobs"].sum()),
                    "seconds": float(mine["wall_s"].sum()),
                }
            )
    return rows


def _made(run: Run) -> dict[str, str]:
    """Say what came out, by stage."""
    counts, slices, ct = run.tables["counts"], run.records["slices"], run.records["ct"]
    numbers = ", ".join(f"{number} {split}" for split, number in slices["num_slices"].items())
    return {
        "phantom": f"{len(run.traces)} tubes",
        "simulate": f"{counts['decays'].sum():,} decays, {counts['prompts'].sum():,} counts",
        "reconstruct": f"{numbers} slices",
        "ct": f"{ct['num_slices']} slices, {'stand-in' if ct['is_standin'] else 'real patients'}",
        "generate": ", ".join(run.samples),
        "evaluate": f"{run.records['metrics']['num_test_tubes']} held-out tubes",
        "enhance": f"{len(run.tables['one_to_one'])} test tubes compared",
        "inspect": f"{run.tables['verdicts']['is_called'].sum()} parts called",
    }


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
        `truths` by tube, in the order of `models` and `tubes`; `maps`: those of all tubes
        by name.
    models, tubes : list of str
    stage_of_rule : mapping
        The rule file (without suffix) of every rule.

    Returns
    -------
    str
        HTML that needs no other file.
    """
    run = sections.read_run(paths, models, tubes)
    metrics, table1 = run.records["metrics"], run.tables["table1"]
    no_study = [] if paths["study"] else [sections.NO_STUDY]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["png"] = _png
    environment.filters["has_numbers"] = lambda path: figure_data.of_png(path) is not None
    environment.filters["csv"] = lambda table: table.to_csv(index=False)
    environment.filters["chart"] = lambda figure: figure.to_json().replace("<", "\\u003c")
    return environment.from_string(template).render(
        sentences=run.records["facts"]["sentences"] + metrics["statements"] + no_study,
        flow=flow(run, stage_of_rule),
        sections=sections.all_sections(run),
        titles=tables.TITLES,
        short=[found_in_short(run.tables["verdicts"]), *in_short(run.recovery, table1)],
        notes={key: text.partition("; median of")[0] for key, text in metrics["columns"].items()},
        draws=_draws(metrics["columns"]),
        c2st=_automatic_readers(table1),
        viewer=viewer.viewer_data(run.labels, run.activity, run.image, run.samples),
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
    )


def found_in_short(verdicts: pd.DataFrame) -> str:
    """Return what the inspection found, and what it called falsely, in one sentence.

    Parameters
    ----------
    verdicts : DataFrame
        `verdicts.csv`.
    """
    has_defect = verdicts["defect"] != "none"
    right = int(verdicts["is_right_place"].sum())
    called = int((verdicts["is_called"] & ~has_defect).sum())
    return (
        f"Inspection: {right} of {has_defect.sum()} defects were found in the right place; "
        f"{called} of {(~has_defect).sum()} parts without a defect were called."
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
