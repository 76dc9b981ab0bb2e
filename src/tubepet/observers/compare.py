"""Compare how well observers tell parts with a defect from clean ones, on the same test parts."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.observers.design import TEST, VALIDATION
from tubepet.pod.design import CLEAN

Array = NDArray[np.float64]
Draws = list[tuple[NDArray[np.intp], NDArray[np.intp]]]  # rows of defects and of clean parts

LIMIT = "limit"  # the observer that knows shape and place: it has a mean z, no score
REFERENCE = "score_test"  # the others are compared with it, or with another one
NUM_RESAMPLES = 2000
LEVEL = 0.95


def auc(defect: Array, clean: Array) -> float:
    """Return the probability that a part with a defect has the larger score; ties count half.

    It is Mann's and Whitney's U over the number of pairs.
    """
    ranks = rankdata(np.concatenate([defect, clean]))[: len(defect)]
    return float((ranks.mean() - (len(defect) + 1) / 2) / len(clean))


def limit_auc(defect_z: Array, _clean: Array) -> float:
    """Return the AUC of normal z with these means against normal z with mean 0."""
    return float(norm.cdf(defect_z / np.sqrt(2)).mean())


def threshold(clean: Array, false_call_rate: float) -> float:
    """Return the score that at most a share `false_call_rate` of the clean parts exceeds."""
    allowed = int(false_call_rate * len(clean) + 1e-9)
    return float(np.sort(clean)[::-1][allowed])


def scored(tables: Sequence[pd.DataFrame], scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the parts that were inspected, with the score test and a column for each observer.

    Parameters
    ----------
    tables : sequence of DataFrame
        `volumes.COLUMNS`, of all batches.
    scores : mapping of DataFrame
        part and score, by the observer's name.
    """
    judged = [table for table in tables if table["p_value"].notna().all()]
    parts = with_score_test(pd.concat(judged, ignore_index=True))
    for name, table in scores.items():
        own = table.rename(columns={"score": name})
        parts = parts.merge(own, on="part", validate="one_to_one")
    return parts


def with_score_test(parts: pd.DataFrame) -> pd.DataFrame:
    """Add the column `score_test`, -log10 of the p-value, for each part has its own threshold."""
    least = np.finfo(np.float64).tiny
    return parts.assign(score_test=-np.log10(parts["p_value"].clip(lower=least)))


def summary(
    parts: pd.DataFrame, observers: list[str], false_call_rate: float,
    random: np.random.Generator, reference: str = REFERENCE,
) -> dict[str, Any]:  # fmt: skip
    """Return AUC, detection and false calls of each observer, for all classes and for each.

    Parameters
    ----------
    parts : DataFrame
        role, class, limit_z and a column per observer; test parts and clean validation parts.
    observers : list of str
        Columns, the reference among them; `LIMIT` is added.
    false_call_rate : float
        Share of clean validation parts above the thresholds.
    reference : str
        Whose AUC the others are compared with.
    random : Generator
        For the bootstrap over test parts, within clean ones and within each class. All observers
        share the resamples, so that their differences are paired.

    Raises
    ------
    InputError
        If there is no clean test part, none with a defect, or no validation part.
    """
    test = parts[parts["role"] == TEST]
    clean = test[test["class"] == CLEAN]
    defect = test[test["class"] != CLEAN].sort_values("class", kind="stable")
    held_out = parts[(parts["role"] == VALIDATION) & (parts["class"] == CLEAN)]
    _check({"clean test": clean, "defective test": defect, "validation": held_out})
    thresholds = {name: threshold(held_out[name].to_numpy(), false_call_rate) for name in observers}
    classes = {"all": np.full(len(defect), True)}
    classes |= {name: (defect["class"] == name).to_numpy() for name in defect["class"].unique()}
    draws = _resamples(defect["class"].to_numpy(), len(clean), random)
    everyone = [reference, LIMIT, *(name for name in observers if name != reference)]
    areas = {
        (observer, name): _area(observer, defect, clean, is_class, draws)
        for observer in everyone
        for name, is_class in classes.items()
    }
    rows: list[dict[str, Any]] = []
    for (observer, name), (value, spread) in areas.items():
        other, other_spread = areas[reference, name]
        rows.append({
            "observer": observer, "class": name, "parts": int(classes[name].sum()), "auc": value,
            **_interval("auc", spread),
            "auc_difference": value - other,
            **_interval("auc_difference", spread - other_spread),
            "detected": _detected(observer, defect[classes[name]], thresholds, false_call_rate),
            # the limit has no clean parts
            "false_calls": false_call_rate
            if observer == LIMIT
            else float((clean[observer] > thresholds[observer]).mean()),
        })  # fmt: skip
    return {
        "test_parts": len(test), "clean_test_parts": len(clean),
        "validation_parts": len(held_out), "false_call_rate": false_call_rate,
        "reference": reference, "thresholds": thresholds, "figures": rows,
    }  # fmt: skip


def _check(groups: dict[str, pd.DataFrame]) -> None:
    """Refuse to compare without parts of each group."""
    for name, found in groups.items():
        if found.empty:
            raise InputError(
                f"observers: got no {name} parts, expected some (observers.test_parts, "
                "observers.validation_parts)"
            )


def _area(
    observer: str, defect: pd.DataFrame, clean: pd.DataFrame, is_class: NDArray[np.bool_],
    draws: Draws,
) -> tuple[float, Array]:  # fmt: skip
    """Return the AUC of one class, and that of every resample."""
    column, area = ("limit_z", limit_auc) if observer == LIMIT else (observer, auc)
    with_it, without = (table[column].to_numpy(np.float64) for table in (defect, clean))
    spread = np.array([area(with_it[d[is_class[d]]], without[c]) for d, c in draws])
    return area(with_it[is_class], without), spread


def _resamples(classes: NDArray[Any], num_clean: int, random: np.random.Generator) -> Draws:
    """Draw as many parts of each class as there are, with replacement."""
    groups = [np.flatnonzero(classes == name) for name in pd.unique(classes)]
    return [
        (
            np.concatenate([random.choice(group, len(group)) for group in groups]),
            random.choice(num_clean, num_clean),
        )
        for _ in range(NUM_RESAMPLES)
    ]


def _interval(name: str, spread: Array) -> dict[str, float]:
    low, high = np.quantile(spread, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return {f"{name}_low": float(low), f"{name}_high": float(high)}


def _detected(
    observer: str, defect: pd.DataFrame, thresholds: dict[str, float], false_call_rate: float
) -> float:
    """Share of parts that are called."""
    if observer == LIMIT:
        decision = norm.isf(false_call_rate)
        return float(norm.sf(decision - defect["limit_z"].to_numpy()).mean())
    return float((defect[observer] > thresholds[observer]).mean())


def log_summary(facts: dict[str, Any]) -> None:
    """Log the main figures, one line per observer."""
    for row in facts["figures"]:
        if row["class"] == "all":
            log.info(
                "%s: AUC %.3f (%.3f to %.3f), finds %.0f %% with %.1f %% false calls",
                row["observer"], row["auc"], row["auc_low"], row["auc_high"],
                100 * row["detected"], 100 * row["false_calls"],
            )  # fmt: skip
