"""Write the tables behind the study's conclusions from the scores of all runs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tubepet.evaluate.gate import LEAST_AUC, SPOILT
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.study.detector import BOTH, REAL, SYNTHETIC
from tubepet.study.intervals import Estimate
from tubepet.study.scores import (
    ALL,
    SHOWN,
    Claim,
    Scores,
    all_descriptions,
    detector_gain,
    label,
)

MIN_NEAREST_RATIO = 0.9  # below it images are nearer to training slices than new tubes are
PHYSICAL = [
    "ms_ssim", "ms_ssim_nearest", "w1_activity", "w1_radius", "w1_intensity", "noise_factor",
]  # fmt: skip


def number(value: float | None) -> str:
    """Print a number with three significant digits."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def interval(found: Estimate | None) -> str:
    """Print a mean with its interval."""
    if found is None:
        return "undefined"
    return f"{number(found.mean)} [{number(found.low)}, {number(found.high)}]"


def as_factor(found: Estimate | None) -> str:
    """Print a mean of logarithms as a factor with its interval."""
    if found is None:
        return "undefined"
    middle, low, high = (float(np.exp(v)) for v in (found.mean, found.low, found.high))
    return f"{number(middle)}x [{number(low)}, {number(high)}]"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def claim_text(claim: Claim) -> str:
    """Return a claim as an item of a Markdown list: verdict, sentence, what was measured."""
    others = [f"{label(m)} by {interval(e)}, p = {number(p)}" for m, (e, p) in claim.others.items()]
    primary, p = as_factor(claim.primary), claim.primary.p if claim.primary else None
    more = f" {claim.would_decide.capitalize()}." if claim.would_decide else ""
    besides = f" Besides: {'; '.join(others)}." if others else ""
    return (
        f"- **{claim.verdict}**: {claim.text}. Nearer by {primary}, p = {number(p)}."
        f"{more}{besides}\n"
    )


def memorisation_text(names: Sequence[str], scores: Scores) -> str:
    """Return a table that says of each variant whether its images are copies."""
    lines = []
    for name in names:
        ratio, close = (scores.mean(name, m) for m in ("nearest_ratio", "share_close"))
        if ratio is None:
            continue
        word = "no sign of copying"
        if ratio.high < MIN_NEAREST_RATIO:
            word = "closer to the training slices than new tubes are"
        elif ratio.low < MIN_NEAREST_RATIO:
            word = "undecided"
        lines.append([f"`{name}`", interval(ratio), interval(close), word])
    return markdown_table(
        ["variant", "nearest-neighbour ratio", "share closer than 95 % of new slices", "verdict"],
        lines,
    )


def detector_text(detector: pd.DataFrame) -> str:
    """Return a table of the detector's AUC by arm and number of real slices, with paired gains."""
    lines = []
    for num_real, rows in detector.groupby("num_real"):
        cells = [str(num_real)]
        for arm in (REAL, BOTH, SYNTHETIC):
            known = rows[arm].dropna() if arm in rows else pd.Series(dtype=float)
            cells.append(f"{known.mean():.3f}" if len(known) else "–")
        for arm in (BOTH, SYNTHETIC):
            found = detector_gain(detector, int(str(num_real)), arm)
            cells.append(f"{interval(found)}, p = {number(found.p)}" if found else "–")
        lines.append(cells)
    header = ["real slices", f"AUC: {REAL}", BOTH, SYNTHETIC, f"gain: {BOTH}", f"gain: {SYNTHETIC}"]
    return markdown_table(header, lines)


def curve_text(variants: Sequence[str], nums: Sequence[str], scores: Scores) -> str:
    """Return a table of key metrics of some variants by number of training slices."""
    lines = [
        [f"`{name}`", num, *(interval(scores.mean(name, m, num)) for m in SHOWN)]
        for name in variants
        for num in nums
        if scores.seeds(name, num)
    ]
    return markdown_table(["variant", "training slices", *(label(m) for m in SHOWN)], lines)


def tuning_text(tuning_steps: int, tuning: pd.DataFrame) -> str:
    """Return a table of all candidates of settings, with distances, and which was chosen."""
    if not len(tuning):
        return "None: every variant trained as configured.\n"
    text = (
        f"Each candidate was trained once, with a seed of its own, for the cost of {tuning_steps} "
        "steps of DCGAN, and judged on the validation slices (statistics features; the distance of "
        f"as many training slices is {number(tuning['floor'].max())}). All seeds of a variant take "
        "the nearest, and so do its ablations, but for the keys that they set themselves.\n\n"
    )
    lines = [
        [
            f"`{row['variant']}`",
            row["candidate"] or "as configured",
            f"{row['num_steps']}",
            "diverged" if pd.isna(row["frechet"]) else number(row["frechet"]),
            "chosen" if row["is_chosen"] else "",
        ]
        for row in tuning.to_dict("records")
    ]
    header = ["variant", "candidate", "steps", "Fréchet distance to validation slices", ""]
    return text + markdown_table(header, lines)


def costs_text(costs: pd.DataFrame) -> str:
    """Return a table of steps, seconds, FLOPs and parameters of every variant."""
    lines = [
        [
            f"`{row['variant']}`",
            f"{row['num_steps']}",
            number(row["preparation_s"]),
            "yes" if row["is_charged"] else "no",
            *(number(row[key]) for key in ("cpu_s", "gflops_per_step", "tflops")),
            number(row["parameters"] / 1e6),
            f"{row['diverged']}",
        ]
        for row in costs.to_dict("records")
    ]
    return markdown_table(
        ["variant", "steps", "preparation, s", "charged", "training, CPU-s measured",
         "GFLOP per step", "TFLOP in all", "parameters, million", "runs that diverged"], lines,
    )  # fmt: skip


def make_tables(
    study: Mapping[str, Any],
    claims: Sequence[Claim],
    scores: Scores,
    costs: pd.DataFrame,
    tuning: pd.DataFrame,
    detector: pd.DataFrame,
    facts: Mapping[str, Any],
) -> str:
    """Write the page of tables.

    Parameters
    ----------
    study : mapping
        Config section `study`.
    claims : sequence of Claim
    scores : Scores
    costs : DataFrame
        One row per variant.
    tuning : DataFrame
        One row per candidate, see `tubepet.study.tuning.table`.
    detector : DataFrame
        num_real, seed and one column of AUC per arm.
    facts : mapping
        `features` (the facts of the learned space), and `gates` (`tubepet.evaluate.gate.Gate` of
        each space).
    """
    variants = study["variants"]
    parts = ["# Tables of the study\n", *_spaces(facts)]
    if claims:
        parts += ["## Claims\n", "".join(claim_text(claim) for claim in claims)]
    names, curve = [FLOOR, COPY, *variants], study["curve"]
    shown = [*SHOWN, "precision", "recall", "density", "c2st", "nearest_ratio"]
    header = ["variant", "seeds", *(label(metric) for metric in shown)]
    seeds = {name: [f"{len(scores.seeds(name))}"] for name in names}
    parts += [
        "## All variants\n",
        markdown_table(header, _means(names, shown, scores, seeds)),
        "## Diversity, fidelity and physics\n",
        markdown_table(["variant", *PHYSICAL], _means(names, PHYSICAL, scores)),
        "The wall does not emit: its thickness cannot be seen in these images.\n",
        "## Memorisation\n",
        memorisation_text(names, scores),
        "## A defect detector\n",
        detector_text(detector) if len(detector) else "Not run.\n",
        "## Fewer training slices\n",
        curve_text(curve["variants"], [*map(str, curve["num_images"]), ALL], scores),
        "## Tuning\n",
        tuning_text(study["tuning_steps"], tuning),
        "## Compute\n",
        costs_text(costs),
        "## What the numbers are\n",
        "".join(f"- `{name}`: {text}.\n" for name, text in all_descriptions().items()),
    ]
    return "\n".join(parts)


def _spaces(facts: Mapping[str, Any]) -> list[str]:
    learned = facts["features"]
    return [
        "## Which features count\n",
        "Training slices are spoilt in three ways. Features count if every spoilt set is farther "
        "from the test slices than the training slices are (energy distance), and a classifier "
        f"tells it from training slices of other tubes (AUC of at least {LEAST_AUC:g}). Claims "
        "rest on features that count.\n",
        gates_text(facts["gates"]),
        f"Learned features come from {len(learned['tubes'])} other tubes; on tubes it was not "
        f"trained on the network tells a visible defect with AUC {number(learned['defect_auc'])}, "
        f"elliptical, square and round bores with accuracy {number(learned['shape_accuracy'])} and "
        f"the bore's radius within {number(learned['radius_error_px'])} pixels. ImageNet features "
        "come from a network that learned on photographs, EfficientNet-Lite0.\n",
    ]


def gates_text(gates: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table that says of each feature space what it sees, and whether it counts."""
    lines = []
    for space, gate in gates.items():
        seen = (f"{number(far)}; {number(gate['auc'][n])}" for n, far in gate["energy"].items())
        word = {True: "yes", False: "no", None: "too few tubes to say"}[gate["is_passed"]]
        lines.append([space, number(gate["real"]), *seen, word])
    header = ["features", "training slices: distance", *(f"{n}: distance; AUC" for n in SPOILT)]
    return markdown_table([*header, "count"], lines)


def _means(
    names: Sequence[str],
    metrics: Sequence[str],
    scores: Scores,
    more: Mapping[str, list[str]] | None = None,
) -> list[list[str]]:
    """Return rows of a table: name, its cells in `more`, and each metric with its interval."""
    more = more or {}
    return [
        [f"`{n}`", *more.get(n, []), *(interval(scores.mean(n, m)) for m in metrics)] for n in names
    ]
