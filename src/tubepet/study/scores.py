"""Compare variants by the scores of all runs: estimates, claims with verdicts, tables.

Comparisons are paired by seed. Both variants have the same seed, learn from the same slices and are
scored against the same halves of the test tubes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet.evaluate.imagenet import IMAGENET
from tubepet.evaluate.learned import LEARNED
from tubepet.evaluate.metrics import STATISTICS, column, descriptions
from tubepet.evaluate.row_names import FLOOR
from tubepet.study.detector import REAL
from tubepet.study.intervals import OPEN, Estimate, estimate, holm, seeds_to_decide, verdict
from tubepet.study.score import NEAREST_SIMILARITY

SPACES = (STATISTICS, LEARNED, IMAGENET)
ALL = "all"  # training slices
# Whether more (1) or less (-1) is better. By the first alone a claim "better" is judged.
SIGNS = {"energy": -1, "frechet": -1, "coverage": 1}
LABELS = {"energy": "energy distance", "frechet": "Fréchet distance", "coverage": "coverage"}
SHOWN = [column(name, space) for space in SPACES for name in SIGNS]
Rows = Sequence[Mapping[str, Any]]


def label(metric: str) -> str:
    """Return the name of a metric for readers; a key metric's with its feature space."""
    base, _, space = metric.partition("_")
    known = base in LABELS and space in ("", *SPACES)
    return f"{LABELS[base]}, {space or STATISTICS} features" if known else metric


def all_descriptions() -> dict[str, str]:
    """Return the description of each metric."""
    return descriptions(SPACES) | {"ms_ssim_nearest": NEAREST_SIMILARITY}


class Scores:
    """The scores of all runs, by variant, number of training slices and seed.

    Attributes
    ----------
    key : dict of int
        The metrics in spaces that pass their gate (`tubepet.evaluate.gate`), and whether more (1)
        or less (-1) is better. The first one is the primary endpoint, by which claims are judged.
    """

    def __init__(self, rows: Rows, spaces: Iterable[str] = SPACES) -> None:
        self.rows = {(r["variant"], str(r["num_train"]), r["seed"]): r for r in rows}
        self.key = {column(name, space): sign for space in spaces for name, sign in SIGNS.items()}

    def seeds(self, variant: str, num_train: str = ALL) -> list[int]:
        """Return the seeds of a variant that gave images."""
        return sorted(
            seed
            for (name, num, seed), row in self.rows.items()
            if (name, num) == (variant, num_train) and row["values"]
        )

    def get(
        self, variant: str, metric: str, num_train: str, seeds: Iterable[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return values (S,) of a metric, and draws (S, H) on halves of tubes; NaN if undefined."""
        rows = [self.rows[variant, num_train, seed] for seed in seeds]
        values = np.array([row["values"].get(metric) for row in rows], np.float64)
        draws = np.array([row["draws"].get(metric, []) for row in rows], np.float64)
        return values, draws

    def mean(self, variant: str, metric: str, num_train: str = ALL) -> Estimate | None:
        """Estimate one metric of one variant; None if it is undefined for a seed."""
        values, draws = self.get(variant, metric, num_train, self.seeds(variant, num_train))
        return _estimate(values, draws)

    def difference(
        self, better: str, worse: str, metric: str, sign: int, num_train: str = ALL
    ) -> Estimate | None:
        """Estimate by how much the first is better than the second, paired by seed."""
        seeds = sorted(set(self.seeds(better, num_train)) & set(self.seeds(worse, num_train)))
        first, second = (self.get(v, metric, num_train, seeds) for v in (better, worse))
        return _estimate(sign * (first[0] - second[0]), sign * (first[1] - second[1]))

    def least(self, metric: str) -> float:
        """Return the least distance that counts: the upper end of the interval of real slices.

        0 if there are none. Whoever is nearer than real slices may be is not better for it.
        """
        found = self.mean(FLOOR, metric)
        return found.high if found is not None and found.high > 0 else 0.0

    def factor(self, better: str, worse: str, metric: str, num_train: str = ALL) -> Estimate | None:
        """Estimate the log of the factor by which a distance is smaller, paired by seed.

        Distances below `least` count as that. None where one is not positive then.
        """
        seeds = sorted(set(self.seeds(better, num_train)) & set(self.seeds(worse, num_train)))
        least = self.least(metric)
        first, second = (
            [np.maximum(d, least) for d in self.get(v, metric, num_train, seeds)]
            for v in (better, worse)
        )
        if not seeds or not min(first[0].min(), second[0].min()) > 0:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):  # such draws are left out below
            values, draws = (np.log(b) - np.log(a) for a, b in zip(first, second, strict=True))
        return _estimate(values, draws)


def _estimate(values: NDArray[np.float64], draws: NDArray[np.float64]) -> Estimate | None:
    if not len(values) or not np.isfinite(values).all():
        return None
    return estimate(values, draws[:, np.isfinite(draws).all(0)] if draws.size else draws)


@dataclass(frozen=True)
class Claim:
    """A sentence, and what was measured about it; numbers above 0 support it.

    Attributes
    ----------
    text : str
    primary : Estimate or None
        Log of the factor by which the primary endpoint is smaller; it alone gives the verdict.
    others : mapping
        By metric: difference, as far as it is defined, and its p by Holm among these.
    """

    text: str
    primary: Estimate | None
    others: Mapping[str, tuple[Estimate, float]]

    @property
    def verdict(self) -> str:
        """Return `HOLDS`, `FAILS` or `OPEN`, by the interval of the primary endpoint."""
        return verdict(self.primary.low, self.primary.high) if self.primary else OPEN

    @property
    def would_decide(self) -> str:
        """What would decide an undecided claim; empty if it is decided or has no number."""
        if self.primary is None or self.verdict != OPEN or self.primary.num_seeds == 1:
            return ""
        if self.primary.mean == self.primary.sd == 0:
            return "both are as near as real slices may be"
        num = seeds_to_decide(self.primary)
        return f"{num} seeds would decide" if num else "more seeds would not decide"


def claims_of(variants: Mapping[str, Mapping[str, Any]], scores: Scores) -> list[Claim]:
    """Return the claims of the config."""
    found = []
    for name, variant in variants.items():
        for rival in variant["beats"]:
            found.append(_claim(f"`{name}` is better than `{rival}`", name, rival, scores))
        if whole := variant["ablates"]:
            text = f"{variant['part']} (`{whole}` is better than `{name}`)"
            found.append(_claim(text, whole, name, scores))
    return found


def _claim(text: str, better: str, worse: str, scores: Scores) -> Claim:
    primary, rest = next(iter(scores.key), None), [*scores.key][1:]
    found = {m: scores.difference(better, worse, m, scores.key[m]) for m in rest}
    known = {m: one for m, one in found.items() if one is not None}
    corrected = holm([one.p for one in known.values()])
    others = dict(zip(known, zip(known.values(), corrected, strict=True), strict=True))
    return Claim(text, scores.factor(better, worse, primary) if primary else None, others)


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


def detector_gain(detector: pd.DataFrame, num_real: int, arm: str) -> Estimate | None:
    """Estimate the gain in AUC of an arm over real slices alone, paired by seed."""
    rows = detector[detector["num_real"] == num_real] if len(detector) else detector
    if not len(rows) or arm not in rows or not rows[[arm, REAL]].notna().to_numpy().all():
        return None
    values = (rows[arm] - rows[REAL]).to_numpy(np.float64)
    return estimate(values, np.empty((len(values), 0)))
