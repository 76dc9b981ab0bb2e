"""Summarise the rows of all parts: POD of each class and duration, and false calls."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binomtest, norm

from tubepet.logs import log
from tubepet.pod import hit_miss, response
from tubepet.pod.design import CLEAN

Array = NDArray[np.float64]
CLASS_COLUMNS = (
    "class", "parts", "found", "share", "share_low", "share_high", "smallest_mm", "largest_mm",
    "a50_mm", "a90_mm", "a90_95_mm", "remark",
)  # fmt: skip


def summary(parts: pd.DataFrame, false_call_rate: float) -> dict[str, Any]:
    """Return POD by class and duration, and the false calls of clean parts by duration.

    Parameters
    ----------
    parts : DataFrame
        `parts.COLUMNS`.
    false_call_rate : float
        The rate that inspections allow.
    """
    defects, clean = parts[parts["class"] != CLEAN], parts[parts["class"] == CLEAN]
    curves = [
        {"class": defect, "duration_s": duration_s, **_curves(rows, false_call_rate)}
        for (defect, duration_s), rows in defects.groupby(["class", "duration_s"], sort=False)
    ]
    false_calls = [
        {"duration_s": duration_s, **_false_calls(rows)}
        for duration_s, rows in clean.groupby("duration_s", sort=False)
    ]
    return {"false_call_rate": false_call_rate, "false_calls": false_calls, "curves": curves}


def of_verdicts(verdicts: pd.DataFrame) -> pd.DataFrame:
    """Summarise the verdicts of a run by class: POD in short.

    Parameters
    ----------
    verdicts : DataFrame
        `judge.COLUMNS`.

    Returns
    -------
    DataFrame
        `CLASS_COLUMNS`. A hit is a call in the right place; for the class `none` it is any call.
        Its share has an exact 95 % interval (Clopper and Pearson). Sizes follow E2862, and are NaN
        where `remark` gives the reason. So few parts say little: the handbook wants 60 of each
        class.
    """
    rows = []
    for defect, parts in verdicts.groupby("defect", sort=False):
        is_clean = defect == "none"
        hits = parts["is_called" if is_clean else "is_right_place"].to_numpy(np.float64)
        row = {"class": defect, "parts": len(parts), "found": int(hits.sum())}
        row |= _share("share", hits)
        if not is_clean:
            sizes_mm = parts["defect_mm"].to_numpy(np.float64)
            row |= {"smallest_mm": sizes_mm.min(), "largest_mm": sizes_mm.max()}
            row |= _hit_miss(sizes_mm, hits)
        rows.append(row)
    return pd.DataFrame(rows, columns=list(CLASS_COLUMNS)).fillna({"remark": ""})


def _false_calls(rows: pd.DataFrame) -> dict[str, Any]:
    """Rate of clean parts that are called, with the exact 95 % interval (Clopper and Pearson).

    Beside it mean and root mean square of z, over the candidates of a part and over parts.
    """
    called = rows["is_called"].to_numpy(np.float64)
    z = {"mean_z": rows["mean_z"].mean(), "rms_z": np.sqrt((rows["rms_z"] ** 2).mean())}
    facts = {"parts": len(rows), "called": int(called.sum()), **_share("rate", called)}
    return facts | {key: _or_none(float(value)) for key, value in z.items()}


def _share(name: str, hits: Array) -> dict[str, float]:
    """Return a share with its exact 95 % interval (Clopper and Pearson)."""
    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(0.95)
    numbers = {"": hits.mean(), "_low": interval.low, "_high": interval.high}
    return {f"{name}{end}": float(number) for end, number in numbers.items()}


def _curves(rows: pd.DataFrame, false_call_rate: float) -> dict[str, Any]:
    sizes_mm = rows["size_mm"].to_numpy(np.float64)
    return {
        "parts": len(rows),
        "families": int(rows["family"].nunique()),
        "smallest_mm": float(sizes_mm.min()),
        "largest_mm": float(sizes_mm.max()),
        "hit_miss": _hit_miss(sizes_mm, rows["is_right_place"].to_numpy(np.float64)),
        "response": _response(sizes_mm, rows),
        "foretold_hits": float(rows["foretold"].sum()),
        "known": _known(rows),
        "limit": _limit(sizes_mm, rows["limit_z"].to_numpy(np.float64), false_call_rate),
    }


def _known(rows: pd.DataFrame) -> dict[str, float | None]:
    """Return the ratio of z of known defects to its mean (slope through 0), and its error."""
    got, mean = (rows[key].to_numpy(np.float64) for key in ("known_z", "limit_z"))
    square = float(mean @ mean)
    if square == 0:
        return {"ratio": None, "error": None}
    return {"ratio": float(got @ mean) / square, "error": square**-0.5}


def _hit_miss(sizes_mm: Array, hits: Array) -> dict[str, Any]:
    """Fit by E2862: a hit is a call in the right place."""
    result: dict[str, Any] = {"hits": int(hits.sum())}
    if reason := hit_miss.why_not(sizes_mm, hits):
        return result | {"remark": reason}
    curve = hit_miss.fit(sizes_mm, hits)
    bound_mm = hit_miss.bound_mm(curve, 0.9)
    statistic, num_free, fit_p = hit_miss.goodness(curve)
    result |= {
        "intercept": curve.intercept,
        "slope": curve.slope,
        "covariance": curve.covariance.tolist(),
        "deviance": curve.deviance,
        "hosmer_lemeshow": _or_none(statistic),
        "degrees_of_freedom": num_free,
        "fit_p": _or_none(fit_p),
    }
    if not np.isfinite(bound_mm):
        return result | {"remark": "it is not sure that larger defects are found more often"}
    return result | {
        "a50_mm": curve.size_mm(0.5),
        "a90_mm": curve.size_mm(0.9),
        "a90_95_mm": bound_mm,
        "a90_probit_mm": hit_miss.fit(sizes_mm, hits, "probit").size_mm(0.9),
        "remark": _beyond(curve.size_mm(0.9), sizes_mm),
    }


def _response(sizes_mm: Array, rows: pd.DataFrame) -> dict[str, Any]:
    """Fit by E3023: the signal is z at the defect, the threshold the median of the parts'."""
    signal_z = rows["place_z"].to_numpy(np.float64)
    thresholds = rows["threshold_z"].to_numpy(np.float64)
    thresholds = thresholds[np.isfinite(thresholds)]
    if not len(thresholds):
        return {"remark": "nothing can be found at this dose: no part has a threshold"}
    if reason := response.why_not(sizes_mm, signal_z):
        return {"remark": reason}
    curve = response.fit(sizes_mm, signal_z, float(np.median(thresholds)))
    shift, slope = curve.model.coefficients
    return {
        "a50_mm": curve.size_mm(0.5),
        "a90_mm": curve.size_mm(0.9),
        "a90_95_mm": curve.size_mm(0.9, response.CONFIDENCE),
        "intercept": float(shift),
        "slope": float(slope),
        "spread": curve.model.spread,
        "threshold_z": curve.threshold_z,
        "censored": curve.num_censored,
        "linear_p": curve.linear_p,
        "remark": _beyond(curve.size_mm(0.9), sizes_mm),
    }


def limit_chances(limit_z: Array, false_call_rate: float) -> Array:
    """Return the probabilities that z of these means exceed the threshold of one known place."""
    return np.asarray(norm.sf(norm.isf(false_call_rate) - limit_z))


def _limit(sizes_mm: Array, limit_z: Array, false_call_rate: float) -> dict[str, Any]:
    """Fit the same form of curve to the probabilities at known shape and place."""
    chances = limit_chances(limit_z, false_call_rate)
    if not chances.min() < 0.5 < chances.max():
        return {"remark": f"it finds {chances.min():.0%} to {chances.max():.0%} at all sizes"}
    curve = hit_miss.fit(sizes_mm, chances)
    if curve.slope <= 0:
        return {"remark": "larger defects do not change more events"}
    return {
        "a50_mm": curve.size_mm(0.5),
        "a90_mm": curve.size_mm(0.9),
        "remark": _beyond(curve.size_mm(0.9), sizes_mm),
    }


def _beyond(a90_mm: float, sizes_mm: Array) -> str:
    if a90_mm <= sizes_mm.max():
        return ""
    return f"a90 is beyond the largest part, {sizes_mm.max():.3g} mm: an extrapolation"


def _or_none(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def log_summary(facts: dict[str, Any]) -> None:
    """Log the main figures, one line per class and duration."""
    for row in facts["false_calls"]:
        log.info(
            "%g s: %d of %d clean parts called, %.1f %% (%.1f to %.1f %%)",
            row["duration_s"], row["called"], row["parts"],
            *(100 * row[key] for key in ("rate", "rate_low", "rate_high")),
        )  # fmt: skip
    for row in facts["curves"]:
        found = row["hit_miss"]
        sizes = ", ".join(
            f"{name} {found[key]:.3g} mm"
            for name, key in (("a50", "a50_mm"), ("a90", "a90_mm"), ("a90/95", "a90_95_mm"))
            if found.get(key) is not None
        )
        log.info(
            "%s at %g s, %d of %d hits: %s", row["class"], row["duration_s"], found["hits"],
            row["parts"], " ".join(filter(None, (sizes, found["remark"]))),
        )  # fmt: skip
