"""Write model cards: what a generator was trained on, how good it is, and its limits of use.

They follow Mitchell et al., Model Cards for Model Reporting, 2019, doi:10.1145/3287560.3287596. All
numbers come from files of the run.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined

import tubepet
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.report.tables import with_intervals

UNDEFINED = "undefined"  # for an empty cell of Table 1
WHAT = {
    "paper": "generator with an attention memory, queried with CT slices (the paper's model)",
    "vae": "variational autoencoder",
    "dcgan": "DCGAN",
    "wgan": "Wasserstein GAN",
    "fastgan": "FastGAN",
    "edm": "diffusion model (EDM)",
    "surrogate": "volumes from drawings of tubes, by a fitted scanner and its MLEM; no network",
    "flow": "volumes from drawings of tubes, by flow matching from noise",
}


def model_card(
    template: str,
    name: str,
    generator: Mapping[str, Any],
    slices: Mapping[str, Any],
    table1: pd.DataFrame,
    metrics: Mapping[str, Any],
    sentences: list[str],
) -> str:
    """Write the card of one generator.

    Parameters
    ----------
    template : str
        `workflow/report/card.md` (Jinja2).
    name : str
    generator, slices, metrics : mapping
        `generator.json`, `slices.json` and `metrics.json` of the run.
    table1 : DataFrame
        `table1.csv`.
    sentences : list of str
        From `facts.json` of the report: what is missing or substituted, and the counts.

    Returns
    -------
    str
        Markdown.
    """
    rows = with_intervals(table1).set_index("model")
    scores = [
        (
            metric,
            rows.loc[name, metric] or UNDEFINED,
            rows.loc[FLOOR, metric] or UNDEFINED,
            metrics["columns"].get(metric, "").partition("; median of")[0],
        )
        for metric in map(str, table1.columns)
        if f"{metric}_low" in table1
    ]
    environment = Environment(undefined=StrictUndefined, trim_blocks=True)  # noqa: S701, Markdown
    return environment.from_string(template).render(
        name=name,
        what=WHAT.get(name, name),
        version=tubepet.__version__,
        generator=generator,
        slices=slices,
        sentences=sentences,
        floor=FLOOR,
        scores=scores,
        memorisation=_memorisation(name, table1),
    )


def _memorisation(name: str, table1: pd.DataFrame) -> str:
    ratios = table1.set_index("model").filter(like="nearest_ratio").astype(float)
    if ratios.empty or ratios.loc[name].isna().any():
        return "Not measured: the ratio of nearest neighbours is undefined for this run."
    ratio, low, high = ratios.loc[
        name, ["nearest_ratio", "nearest_ratio_low", "nearest_ratio_high"]
    ]
    floor, copy = (
        UNDEFINED if pd.isna(value) else f"{value:.2f}"
        for value in ratios.loc[[FLOOR, COPY], "nearest_ratio"]
    )
    return (
        f"Distance of a sample to the nearest training slice, over that of a test slice: "
        f"{ratio:.2f} [{low:.2f}, {high:.2f}]. A copier would have {copy}, real slices of "
        f"other tubes {floor}; below 1 a sample is nearer to the training set than new tubes."
    )
