"""Make the tables of the report: facts and caveats, provenance, cost, and their HTML pages.

It reads results of the other stages and computes none of its own.
"""

import html
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

import tubepet
from tubepet.report import columns

PACKAGES = (
    "opengate",
    "opengate-core",
    "xraylib",
    "uproot",
    "numpy",
    "numba",
    "scikit-image",
    "torch",
    "lightning-fabric",
    "torchmetrics",
    "snakemake",
)

STYLE = """body{font:14px/1.45 system-ui,sans-serif;margin:1.5em;color:#222}
table{border-collapse:collapse}
th,td{padding:.3em .7em;border-bottom:1px solid #ddd;text-align:right}
dt{font-weight:600;margin-top:.6em}dd{margin-left:1em}
th:first-child,td:first-child{text-align:left}th{background:#f4f4f4;position:sticky;top:0}"""

ENGINES = {"gate": "GATE", "fast": "tubepet's fast engine"}

TITLES = {
    "counts": "Counts per tube",
    "table1": "Table 1: generators against held-out tubes",
    "provenance": "Where the numbers come from",
    "cost": "Time and memory per rule",
}


def facts(
    stats: list[dict[str, Any]],
    literal: dict[str, Any],
    sources: dict[str, Any],
    verdict: dict[str, Any],
    slices: dict[str, Any],
    ct: dict[str, Any],
) -> dict[str, Any]:
    """Gather what a reader must know first: physics tables, CT, counts.

    Parameters
    ----------
    stats : list of dict
        ``stats.json`` of every tube.
    literal : dict
        ``stats.json`` of the first tube with the paper's activity taken literally.
    sources : dict
        ``sources.json`` of the same tube.
    verdict : dict
        ``run.json``: GATE against the fast engine (`validate.transport.judge`).
    slices, ct : dict
        ``slices.json`` of the reconstruct and ct stages.

    Returns
    -------
    dict
        ``sentences``, ``caveats`` by chapter of the report, ``tables``, ``is_ct_standin``.
    """
    tables = sorted({s["tables"] for s in stats})
    prompts = [s["prompts"] for s in stats]
    of_physics = [
        f"{'Cross sections' if tables == ['xraylib'] else 'Geant4 tables'}: "
        f"{', '.join(tables)}. {stats[0]['tables_note']}",
        f"Coincidences by {ENGINES[stats[0]['engine']]}. {verdict['statement']} "
        f"(GATE's Geant4 tables: {verdict['tables']}.)",
    ]
    if any(s.get("particle") == "e+" for s in stats):
        of_physics.append(
            f"Decays emit positrons with the energies of {stats[0]['isotope']}, which annihilate "
            "where they stop; activities count positrons."
        )
    empty = [s["tube"] for s in stats if s["prompts"] == 0]
    of_images = [
        f"{len(empty)} of {len(stats)} tubes gave no coincidence at all ({', '.join(empty[:5])}"
        f"{', ...' if len(empty) > 5 else ''}): their images are empty, not failed."
    ] * bool(empty)
    stand_in = "CT: a procedural stand-in, not medical data (ct.source_dir is empty)."
    splits = ", ".join(f"{name} {count}" for name, count in slices["num_slices"].items())
    sentences = [
        *of_physics,
        stand_in if ct["is_standin"] else f"CT: {ct['source']}.",
        f"{len(stats)} tubes, {sum(s['decays'] for s in stats):,} decays, {sum(prompts):,} "
        f"coincidences (least in one tube: {min(prompts):,}).",
        *of_images,
        f"Image unit: {slices['unit']}; slices per split: {splits}.",
        f"The paper's 600 Bq for 0.1 s, taken literally, gave {literal['decays']} decays and "
        f"{literal['prompts']} coincidences in the first tube: no image (tube 'literal'). "
        f"A likelihood fit of one point or line source: {sources['sentence']}.",
    ]
    return {
        "sentences": sentences,
        "caveats": {
            "physics": of_physics,
            "images": of_images,
            "generators": [stand_in] * ct["is_standin"],
        },
        "tables": tables,
        "is_ct_standin": ct["is_standin"],
    }


def provenance(
    known: dict[str, Any], stats: list[dict[str, Any]], calibration: dict[str, Any], seed: int
) -> pd.DataFrame:
    """Return a two-column table: fact, value."""
    rows = [("seed of the run", seed), ("tubepet", tubepet.__version__)]
    rows += [("note", sentence) for sentence in known["sentences"]]
    rows += [
        ("engine", stats[0]["engine"]),
        *stats[0]["versions"].items(),
        ("physics list", stats[0]["physics_list"]),
    ]
    rows += [(f"seed of {s['tube']}", s["seed"]) for s in stats]
    rows += [
        (f"calibration: {key}", value)
        for key, value in calibration.items()
        if isinstance(value, int | float | str)
    ]
    rows += [("Python", platform.python_version())]
    rows += [(name, version(name)) for name in PACKAGES]
    return pd.DataFrame(rows, columns=["fact", "value"]).astype(str)


def cost(folder: Path) -> pd.DataFrame:
    """Sum Snakemake's benchmark files per rule.

    Parameters
    ----------
    folder : Path
        Holds ``<rule>.tsv`` and ``<rule>/<wildcards>.tsv``.

    Returns
    -------
    DataFrame
        rule, jobs, wall_s and cpu_s (sums over jobs), longest_s and peak_mb (largest job).
    """
    rows = []
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).parts[0].removesuffix(".tsv")
        row = pd.read_csv(path, sep="\t", na_values="-").iloc[0]
        rows.append((rule, row["s"], row["cpu_time"], row["max_rss"]))
    table = pd.DataFrame(rows, columns=["rule", "wall_s", "cpu_s", "peak_mb"])
    grouped = table.groupby("rule", sort=False)
    return pd.DataFrame(
        {
            "jobs": grouped.size(),
            "wall_s": grouped["wall_s"].sum().round(1),
            "longest_s": grouped["wall_s"].max().round(1),
            "cpu_s": grouped["cpu_s"].sum().round(1),
            "peak_mb": grouped["peak_mb"].max().round(0),
        }
    ).reset_index()


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Join the columns x, x_low and x_high of a table into one: ``x [low, high]``."""
    shown = {}
    for name in (str(c) for c in table.columns):
        if name.endswith(("_low", "_high")):
            continue
        values = table[name]
        if f"{name}_low" in table:
            rows = zip(values, table[f"{name}_low"], table[f"{name}_high"], strict=True)
            shown[name] = [
                "" if pd.isna(value) else f"{value:.3g} [{low:.3g}, {high:.3g}]"
                for value, low, high in rows
            ]
        else:
            shown[name] = list(values)
    return pd.DataFrame(shown)


def page(name: str, table: pd.DataFrame, notes: dict[str, str]) -> str:
    """Return a table as a self-contained HTML page, with notes on columns below it."""
    title, words = html.escape(TITLES[name]), columns.NAMES[name]
    body = columns.named(name, table).to_html(
        index=False, border=0, na_rep="", float_format=lambda v: f"{v:.4g}"
    )
    terms = "".join(
        f"<dt>{html.escape(words.get(key, key))}</dt><dd>{html.escape(text)}</dd>"
        for key, text in notes.items()
        if key in table or "*" in key
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>{body}<dl>{terms}</dl></html>\n"
    )
