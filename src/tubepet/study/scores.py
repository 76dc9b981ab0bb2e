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

from tubepet.evaluate.learned import LEARNED
from tubepet.evaluate.metrics import STATISTICS, column, descriptions
from tubepet.rng import stream
from tubepet.study.detector import REAL
from tubepet.study.intervals import FAILS, HOLDS, OPEN, Estimate, estimate, verdict
from tubepet.study.score import NEAREST_SIMILARITY

SPACES = (STATISTICS, LEARNED)
ALL = "all"  # training slices
MIXED = "mixed"
# the metrics by which a claim "better" is judged, and whether more (1) or less (-1) is better
SIGNS = {"energy": -1, "frechet": -1, "coverage": 1}
LABELS = {"energy": "energy distance", "frechet": "Fréchet distance", "coverage": "coverage"}
SHOWN = [column(name, space) for space in SPACES for name in SIGNS]
NUM_BOOTSTRAP = 4000
Rows = Sequence[Mapping[str, Any]]


def label(metric: str) -> str:
    """Return the name of a metric for readers; a key metric's with its feature space."""
    base = metric.removesuffix(f"_{LEARNED}")
    space = LEARNED if metric != base else STATISTICS
    return f"{LABELS[base]}, {space} features" if base in LABELS else metric


def all_descriptions() -> dict[str, str]:
    """Return the description of each metric."""
    return descriptions(SPACES) | {"ms_ssim_nearest": NEAREST_SIMILARITY}


class Scores:
    """The scores of all runs, by variant, number of training slices and seed.

    Attributes
    ----------
    key : dict of int
        The metrics by which claims are judged, and whether more (1) or less (-1) is better: those
        in spaces that pass their gate (`tubepet.evaluate.gate`).
    """

    def __init__(self, rows: Rows, seed: int, spaces: Iterable[str] = SPACES) -> None:
        self.rows = {(r["variant"], str(r["num_train"]), r["seed"]): r for r in rows}
        self.seed = seed
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
        return self._estimate(values, draws, variant, metric)

    def difference(
        self, better: str, worse: str, metric: str, sign: int, num_train: str = ALL
    ) -> Estimate | None:
        """Estimate by how much the first is better than the second, paired by seed."""
        seeds = sorted(set(self.seeds(better, num_train)) & set(self.seeds(worse, num_train)))
        first, second = (self.get(v, metric, num_train, seeds) for v in (better, worse))
        return self._estimate(
            sign * (first[0] - second[0]), sign * (first[1] - second[1]), better, worse, metric
        )

    def factor(self, better: str, worse: str, metric: str, num_train: str = ALL) -> Estimate | None:
        """Estimate the log of the factor by which a distance is smaller, paired by seed.

        None where a distance is not positive, as an unbiased one may be.
        """
        seeds = sorted(set(self.seeds(better, num_train)) & set(self.seeds(worse, num_train)))
        first, second = (self.get(v, metric, num_train, seeds) for v in (better, worse))
        if not seeds or not min(first[0].min(), second[0].min()) > 0:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):  # such draws are left out below
            values, draws = (np.log(b) - np.log(a) for a, b in zip(first, second, strict=True))
        return self._estimate(values, draws, better, worse, metric, "factor")

    def _estimate(
        self, values: NDArray[np.float64], draws: NDArray[np.float64], *names: str
    ) -> Estimate | None:
        if not len(values) or not np.isfinite(values).all():
            return None
        draws = draws[:, np.isfinite(draws).all(0)] if draws.size else draws
        rng = stream(self.seed, "study", "bootstrap", *names)
        return estimate(values, draws, NUM_BOOTSTRAP, rng)


@dataclass(frozen=True)
class Claim:
    """A sentence, with estimated differences and log factors of key metrics; > 0 supports it."""

    text: str
    estimates: Mapping[str, Estimate | None]
    factors: Mapping[str, Estimate | None]

    @property
    def verdict(self) -> str:
        """The verdict by differences, see `one_word`."""
        return one_word(self.estimates)

    @property
    def verdict_of_factors(self) -> str:
        """The verdict by factors of positive distances, and differences of the other metrics."""
        known = {metric: found for metric, found in self.factors.items() if found is not None}
        return one_word({**self.estimates, **known})


def counts(estimates: Mapping[str, Estimate | None]) -> tuple[int, int]:
    """Return how many intervals lie above 0, and how many below."""
    words = [verdict(e.low, e.high) for e in estimates.values() if e is not None]
    return words.count(HOLDS), words.count(FAILS)


def one_word(estimates: Mapping[str, Estimate | None]) -> str:
    """Return the verdict on a claim by the intervals of its estimates.

    Without estimates it is "undecided". It is "holds" if all are above 0, "mixed" if some are above
    and some below, "does not hold" if at least half are below and none above, else "undecided".
    Half are asked for because one of six 95 % intervals may miss 0 by chance.
    """
    above, below = counts(estimates)
    if not estimates:
        return OPEN
    if above == len(estimates):
        return HOLDS
    if above and below:
        return MIXED
    return FAILS if 2 * below >= len(estimates) else OPEN


def claims_of(variants: Mapping[str, Mapping[str, Any]], scores: Scores) -> dict[str, list[Claim]]:
    """Return the claims of the config, by the variant that they are about."""
    found: dict[str, list[Claim]] = {}
    for name, variant in variants.items():
        for rival in variant["beats"]:
            found.setdefault(name, []).append(
                _claim(f"`{name}` is better than `{rival}`", name, rival, scores)
            )
        if whole := variant["ablates"]:
            text = f"{variant['part']} (`{whole}` is better than `{name}`)"
            found.setdefault(whole, []).append(_claim(text, whole, name, scores))
    return found


def _claim(text: str, better: str, worse: str, scores: Scores) -> Claim:
    key = scores.key.items()
    estimates = {m: scores.difference(better, worse, m, sign) for m, sign in key}
    factors = {m: scores.factor(better, worse, m) for m, sign in key if sign < 0}
    return Claim(text, estimates, factors)


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


def detector_gain(detector: pd.DataFrame, num_real: int, arm: str, seed: int) -> Estimate | None:
    """Estimate the gain in AUC of an arm over real slices alone, paired by seed."""
    rows = detector[detector["num_real"] == num_real] if len(detector) else detector
    if not len(rows) or arm not in rows or not rows[[arm, REAL]].notna().to_numpy().all():
        return None
    values = (rows[arm] - rows[REAL]).to_numpy(np.float64)
    rng = stream(seed, "study", "bootstrap", "detector", num_real, arm)
    return estimate(values, np.empty((len(values), 0)), NUM_BOOTSTRAP, rng)
