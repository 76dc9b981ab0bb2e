"""Write the report: one HTML file that needs no other, for reading offline and for printing.

It shows results of the other stages and computes none of its own.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image
from plotly.offline import get_plotlyjs

from tubepet import figure_data
from tubepet.errors import reading
from tubepet.report import claims, columns, sections, viewer
from tubepet.report.sections import Run

STAGES = {  # by the names of their rule files, without the number
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
    """Return a row per stage: name, purpose, result, jobs, sum of seconds."""
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
    """Return a phrase on the result of each stage."""
    counts, slices, ct = run.tables["counts"], run.records["slices"], run.records["ct"]
    numbers = ", ".join(f"{number} {split}" for split, number in slices["num_slices"].items())
    return {
        "phantom": f"{len(run.traces)} tubes",
        "simulate": f"{counts['decays'].sum():,} decays, {counts['prompts'].sum():,} counts",
        "reconstruct": f"{numbers} slices",
        "ct": f"{ct['num_slices']} slices, {'stand-in' if ct['is_standin'] else 'real patients'}",
        "generate": ", ".join(run.logs),
        "evaluate": f"{run.records['metrics']['num_test_tubes']} held-out tubes",
        "enhance": f"{len(run.tables['one_to_one'])} test tubes compared",
        "inspect": f"{run.tables['verdicts']['is_called'].sum()} parts called",
    }


def make_page(
    template: str,
    paths: Mapping[str, Any],
    models: list[str],
    tubes: list[str],
    false_call_rate: float,
    stage_of_rule: Mapping[str, str],
) -> str:
    """Write the report.

    Parameters
    ----------
    template : str
        `workflow/report/page.html` (Jinja2).
    paths : mapping
        Inputs of the rule `make_report` by name. `logs` are in the order of `models`; labels,
        images, references, maps, truths, found and traces in that of `tubes`.
    models, tubes : list of str
    false_call_rate : float
        The rate that the inspection's threshold is set for.
    stage_of_rule : mapping
        The rule file (without suffix) of every rule.

    Returns
    -------
    str
        HTML that needs no other file.
    """
    run = sections.read_run(paths, models, tubes, false_call_rate)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["png"] = _png
    environment.filters["has_numbers"] = lambda path: figure_data.of_png(path) is not None
    environment.filters["csv"] = lambda table: table.to_csv(index=False)
    environment.filters["chart"] = lambda figure: figure.to_json().replace("<", "\\u003c")
    return environment.from_string(template).render(
        found=claims.found(run.tables["verdicts"], run.tables["classes"], false_call_rate),
        short=in_short(run),
        flow=flow(run, stage_of_rule),
        sections=sections.all_sections(run),
        first=run.records["followed"],
        tubes=viewer.viewer_data(run.seen),
        colour_maps=viewer.colour_maps(),
        words=columns.NAMES["table1"],
        plotly=get_plotlyjs().replace("</script", "<\\/script"),
    )


def in_short(run: Run) -> list[str]:
    """Return sentences on activity, enhanced images and generators."""
    return [
        claims.activity(run.recovery),
        claims.enhancement(run.tables["one_to_one"]),
        *claims.generators(run.tables["table1"]),
    ]


def _png(path: str) -> str:
    with reading(path, "a whole PNG"), Image.open(path, formats=("PNG",)) as image:
        image.verify()  # its CRC
    return base64.b64encode(Path(path).read_bytes()).decode()
