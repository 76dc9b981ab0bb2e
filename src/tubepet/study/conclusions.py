"""Tables and statements from the scores of all runs: rules turn intervals into sentences.

A comparison is paired by seed: both variants of a pair start from the same seed, learn from the
same slices and are scored against the same halves of the test tubes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tubepet.evaluate.learned import LEARNED
from tubepet.evaluate.metrics import STATISTICS, column, descriptions
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.rng import stream
from tubepet.study.detector import BOTH, REAL, SYNTHETIC
from tubepet.study.intervals import OPEN, Estimate, estimate, holm
from tubepet.study.score import NEAREST_SIMILARITY
from tubepet.study.scores import (
    ALL,
    KEY,
    NUM_BOOTSTRAP,
    SPACES,
    Claim,
    Rows,
    Scores,
    claims_of,
    counts,
)

LABELS = {"mmd": "KID (cubic MMD²)", "frechet": "Fréchet distance", "coverage": "coverage"}
MIN_NEAREST_RATIO = 0.9  # figures asked of our generator
MAX_OVER_FLOOR = 3.0
DETECTOR_IMAGES = 50


def label(metric: str) -> str:
    """Return the name of a key metric with its space, as the page prints it."""
    base = metric.removesuffix(f"_{LEARNED}")
    space = LEARNED if metric != base else STATISTICS
    return f"{LABELS[base]}, {space} features" if base in LABELS else metric


def main_table(names: Sequence[str], scores: Scores, metrics: Sequence[str]) -> pd.DataFrame:
    """Return one row per variant: mean, sd and 95 % interval of every metric."""
    rows = []
    for name in names:
        row: dict[str, Any] = {"variant": name, "num_seeds": len(scores.seeds(name))}
        for metric in metrics:
            found = scores.mean(name, metric)
            values = (found.mean, found.sd, found.low, found.high) if found else (None,) * 4
            ends = ("", "_sd", "_low", "_high")
            row |= {f"{metric}{end}": v for end, v in zip(ends, values, strict=True)}
        rows.append(row)
    return pd.DataFrame(rows)


def runs_table(rows: Rows) -> pd.DataFrame:
    """Return one row per run with the value of every metric."""
    keys = ("variant", "num_train", "seed", "cpu_s", "diverged")
    return pd.DataFrame([{k: row.get(k) for k in keys} | dict(row["values"]) for row in rows])


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
    """Return a claim as an item of a list: verdict, sentence, differences with intervals."""
    parts = [
        f"{label(m)} {interval(e)}" + (f", p = {e.p:.3g}" if e else "")
        for m, e in claim.estimates.items()
    ]
    above, below = counts(claim.estimates)
    tally = f"{above} of {len(parts)} differences above 0, {below} below"
    factors = [f"{label(m)} {as_factor(e)}" for m, e in claim.factors.items()]
    return (
        f"- **{claim.verdict}** ({tally}): {claim.text}. Better by: {'; '.join(parts)}. "
        f"As factors **{claim.verdict_of_factors}**: {'; '.join(factors)}.\n"
    )


def asked_figures(
    candidate: str, rivals: Sequence[str], scores: Scores, detector: pd.DataFrame
) -> list[list[str]]:
    """Return what was asked of our generator, what was measured, and whether it is met."""
    lines = []
    for metric, sign in KEY.items():
        found = {r: scores.difference(candidate, r, metric, sign) for r in rivals}
        known = {r: e for r, e in found.items() if e is not None}
        if not known:
            lines.append([f"first in {label(metric)}", "difference > 0", "not measured", OPEN])
            continue
        corrected = dict(zip(known, holm([e.p for e in known.values()]), strict=True))
        closest = min(known, key=lambda r: known[r].mean)
        text = f"least lead: {interval(known[closest])} over `{closest}`, Holm p = "
        text += number(corrected[closest])
        is_met = all(e.low > 0 for e in known.values()) and len(known) == len(rivals)
        won = sum(e.low > 0 for e in known.values())
        lost = sum(e.high < 0 for e in known.values())
        sure = f"ahead of {won} and behind {lost} of {len(rivals)} rivals for sure"
        word = "met" if is_met else f"not met ({sure})"
        found_factors = [scores.factor(candidate, r, metric) for r in rivals] if sign < 0 else []
        factors = [e for e in found_factors if e is not None]
        if factors and len(factors) == len(rivals):
            text += f"; least factor {as_factor(min(factors, key=lambda e: e.mean))}"
            word += f"; as factors {'met' if all(e.low > 0 for e in factors) else 'not met'}"
        lines.append([f"first in {label(metric)}", "difference > 0 for every rival", text, word])
    ratio = scores.mean(candidate, "nearest_ratio")
    lines.append(_threshold("nearest-neighbour ratio", ratio, MIN_NEAREST_RATIO, 1))
    for space in SPACES:
        metric = column("frechet", space)
        lines.append(_over_floor(candidate, metric, scores))
    gain = detector_gain(detector, DETECTOR_IMAGES, BOTH, scores.seed)
    name = f"AUC gain of the detector at {DETECTOR_IMAGES} real slices"
    lines.append(_threshold(name, gain, 0.0, 1))
    return lines


def _threshold(name: str, found: Estimate | None, threshold: float, sign: int) -> list[str]:
    needed = f"{'≥' if sign > 0 else '≤'} {threshold:g}"
    if found is None:
        return [name, needed, "not measured", OPEN]
    short = sign * (threshold - found.mean)
    is_zero = threshold == 0
    is_met = found.low > 0 if is_zero else short <= 0
    word = "met" if is_met else f"not met (short by {number(max(short, 0))})"
    if is_zero and not is_met:
        word = "not met (interval holds 0)" if found.high > 0 else "not met (it loses)"
        needed = "> 0, interval without 0"
    return [name, needed, interval(found), word]


def _over_floor(candidate: str, metric: str, scores: Scores) -> list[str]:
    own, floor = scores.mean(candidate, metric), scores.mean(FLOOR, metric)
    name = f"{label(metric)} over the real floor"
    if own is None or floor is None or floor.mean <= 0:
        return [name, f"≤ {MAX_OVER_FLOOR:g}", "not measured", OPEN]
    ratio = own.mean / floor.mean
    text = f"{number(own.mean)} / {number(floor.mean)} = {number(ratio)}"
    is_met = ratio <= MAX_OVER_FLOOR
    word = "met" if is_met else f"not met ({number(ratio / MAX_OVER_FLOOR)} times too large)"
    return [name, f"≤ {MAX_OVER_FLOOR:g}", text, word]


def detector_gain(detector: pd.DataFrame, num_real: int, arm: str, seed: int) -> Estimate | None:
    """Estimate the gain in AUC of an arm over real slices with classical augmentation."""
    rows = detector[detector["num_real"] == num_real] if len(detector) else detector
    if not len(rows) or arm not in rows or not rows[[arm, REAL]].notna().to_numpy().all():
        return None
    values = (rows[arm] - rows[REAL]).to_numpy(np.float64)
    rng = stream(seed, "study", "bootstrap", "detector", num_real, arm)
    return estimate(values, np.empty((len(values), 0)), NUM_BOOTSTRAP, rng)


def memorisation_text(names: Sequence[str], scores: Scores) -> str:
    """Say of each variant whether its images are copies."""
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


def detector_text(detector: pd.DataFrame, seed: int) -> str:
    """Return the detector's AUC by arm and number of real slices, and the paired gains."""
    lines = []
    for num_real, rows in detector.groupby("num_real"):
        cells = [str(num_real)]
        for arm in (REAL, BOTH, SYNTHETIC):
            known = rows[arm].dropna() if arm in rows else pd.Series(dtype=float)
            cells.append(f"{known.mean():.3f}" if len(known) else "–")
        for arm in (BOTH, SYNTHETIC):
            found = detector_gain(detector, int(str(num_real)), arm, seed)
            cells.append(f"{interval(found)}, p = {number(found.p)}" if found else "–")
        lines.append(cells)
    header = ["real slices", f"AUC: {REAL}", BOTH, SYNTHETIC, f"gain: {BOTH}", f"gain: {SYNTHETIC}"]
    return markdown_table(header, lines)


def curve_text(variants: Sequence[str], nums: Sequence[str], scores: Scores) -> str:
    """Return the key metrics of some variants against the number of training slices."""
    lines = [
        [f"`{name}`", num, *(interval(scores.mean(name, m, num)) for m in KEY)]
        for name in variants
        for num in nums
        if scores.seeds(name, num)
    ]
    return markdown_table(["variant", "training slices", *(label(m) for m in KEY)], lines)


def tuning_text(tuning_steps: int, tuning: pd.DataFrame) -> str:
    """Return every candidate of every variant, how near it came, and which was chosen."""
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
    """Return steps, seconds, FLOPs and parameters of every variant."""
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


def page(
    study: Mapping[str, Any],
    scores: Scores,
    costs: pd.DataFrame,
    tuning: pd.DataFrame,
    detector: pd.DataFrame,
    facts: Mapping[str, Any],
) -> str:
    """Write the page of conclusions.

    Parameters
    ----------
    study : mapping
        Config section `study`.
    scores : Scores
    costs : DataFrame
        One row per variant.
    tuning : DataFrame
        One row per candidate, see `tubepet.study.tuning.table`.
    detector : DataFrame
        num_real, seed and one column of AUC per arm.
    facts : mapping
        num_tubes, num_train, num_test, num_test_tubes, num_images; `features`: what the learned
        space can do.
    """
    variants, candidate = study["variants"], study["candidate"]
    claims = claims_of(variants, scores)
    whole = [name for name, v in variants.items() if not v["ablates"]]
    rivals = [name for name in whole if name != candidate]
    learned = facts["features"]
    preparation = "preparation (VAE, bank) included where the table of compute says so"
    parts = [
        "# What the study shows\n",
        f"{len(variants)} variants, each trained for the cost of {study['budget_steps']} steps of "
        f"DCGAN, {preparation}; {facts['num_train']} training slices, scored on "
        f"{facts['num_test']} slices of {facts['num_test_tubes']} tubes that no training saw, with "
        f"{facts['num_images']} images each. Intervals are 95 % over seeds and test tubes "
        "(bootstrap of seeds, stretched to the t interval; halves of the tubes). p is the paired "
        f"sign-flip test; with {study['num_seeds']} seeds it cannot be below "
        f"{number(2 / 2 ** study['num_seeds'])}. A claim holds if the interval of every key "
        "difference lies above 0; it does not hold if half of them lie below and none above; it is "
        "mixed if some lie above and some below, else undecided. Distances of bad generators "
        "spread over decades, so claims are judged with distances as factors (logarithms) too, "
        "but for distances that are not positive, as an unbiased one may be.\n",
        f"Learned features come from {len(learned['tubes'])} other tubes; on tubes it was not "
        f"trained on the network tells a visible defect with AUC {number(learned['defect_auc'])}, "
        f"elliptical, square and round bores with accuracy {number(learned['shape_accuracy'])} and "
        f"the bore's radius within {number(learned['radius_error_px'])} pixels.\n",
    ]
    everything = [claim for found in claims.values() for claim in found]
    if everything:
        lines = [
            f"- {c.text}: **{c.verdict}** (distances as factors: **{c.verdict_of_factors}**).\n"
            for c in everything
        ]
        parts += ["## In short\n", "".join(lines)]
    if candidate in variants:
        parts += [
            "## The figures asked of our generator\n",
            markdown_table(
                ["figure", "needed", "measured", "verdict"],
                asked_figures(candidate, rivals, scores, detector),
            ),
        ]
    for name, found in claims.items():
        parts += [f"## Claims about `{name}`\n", "".join(claim_text(c) for c in found)]
    names = [FLOOR, COPY, *variants]
    shown = [*KEY, "precision", "recall", "density", "c2st", "nearest_ratio"]
    parts += [
        "## All variants\n",
        markdown_table(
            ["variant", "seeds", *(label(m) for m in shown)],
            [
                [f"`{n}`", f"{len(scores.seeds(n))}", *(interval(scores.mean(n, m)) for m in shown)]
                for n in names
            ],
        ),
    ]
    physical = ["ms_ssim", "ms_ssim_nearest", "w1_activity", "w1_radius", "w1_intensity"]
    physical += ["noise_factor"]
    parts += [
        "## Diversity, fidelity and physics\n",
        markdown_table(
            ["variant", *physical],
            [[f"`{n}`", *(interval(scores.mean(n, m)) for m in physical)] for n in names],
        ),
        "The wall does not emit: its thickness cannot be seen in these images.\n",
        "## Memorisation\n",
        memorisation_text(names, scores),
        "## A defect detector\n",
        detector_text(detector, scores.seed) if len(detector) else "Not run.\n",
        "## Fewer training slices\n",
        curve_text(
            study["curve"]["variants"], [*map(str, study["curve"]["num_images"]), ALL], scores
        ),
        "## Tuning\n",
        tuning_text(study["tuning_steps"], tuning),
        "## Compute\n",
        costs_text(costs),
        "## What the numbers are\n",
        "".join(f"- `{name}`: {text}.\n" for name, text in all_descriptions().items()),
    ]
    return "\n".join(parts)


def all_descriptions() -> dict[str, str]:
    """Return what each metric is."""
    return descriptions(SPACES) | {"ms_ssim_nearest": NEAREST_SIMILARITY}
