"""Write the sentences of the summary; none claims more than its interval supports."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.report.columns import ROWS
from tubepet.report.tables import with_intervals

WANTED = 60  # parts per class (MIL-HDBK-1823A)
TRAINED_ONCE = "Each generator was trained once: no claim about a method, only about these images."


def found(verdicts: pd.DataFrame, classes: pd.DataFrame, false_call_rate: float) -> list[str]:
    """Say what the inspection found, and its false calls.

    Parameters
    ----------
    verdicts, classes : DataFrame
        `verdicts.csv` and `classes.csv`.
    false_call_rate : float
        The rate that the threshold is set for.
    """
    has_defect = verdicts["defect"] != "none"
    num, right = int(has_defect.sum()), int(verdicts["is_right_place"].sum())
    sentences = []
    if num:
        sentences.append(f"{right} of {num} defects were found in the right place.")
    called = int((verdicts["is_called"] & has_defect).sum()) - right
    if called:
        sentences.append(f"{called} more of these parts were called, but in another place.")
    clean = classes[classes["class"] == "none"]
    asked = f"the threshold is set for {false_call_rate:.3g}"
    if len(clean):
        row = clean.iloc[0]
        sentences.append(
            f"{row['found']} of {row['parts']} parts without a defect were called: a false-call "
            f"rate of {row['share']:.3g} [{row['share_low']:.3g}, {row['share_high']:.3g}]; "
            f"{asked}."
        )
    else:
        sentences.append(f"No part is without a defect, so false calls were not seen; {asked}.")
    return sentences


def doubts(classes: pd.DataFrame, false_call_rate: float) -> list[str]:
    """Say what cannot be concluded from so few parts."""
    num_clean = int(classes.loc[classes["class"] == "none", "parts"].sum())
    most = int(classes.loc[classes["class"] != "none", "parts"].max()) if len(classes) else 0
    sentences = ["Parts and measurements are simulated, and every drawing is known exactly."]
    if num_clean * false_call_rate < 1:
        sentences.append(
            f"Parts without a defect ({num_clean}) are too few to check a false-call rate of "
            f"{false_call_rate:g}."
        )
    if most < WANTED:
        sentences.append(
            f"At most {most} part{'s' * (most != 1)} of a class, where {WANTED} are wanted: the "
            "sizes that are found are rough. The target pod simulates more."
        )
    return sentences


def activity(recovery: pd.DataFrame) -> str:
    """Compare reconstructed with true activity (true_bq and reconstructed_bq of every tube)."""
    ratio = recovery["reconstructed_bq"] / recovery["true_bq"]
    return (
        f"Images: reconstructed over true activity is {_mean(ratio.to_numpy())} over "
        f"{len(ratio)} parts (standard deviation {ratio.std(ddof=0):.3f})."
    )


def enhancement(one_to_one: pd.DataFrame) -> str:
    """Compare enhanced with short images of test tubes (`one_to_one.csv`), pair by pair."""
    gain = (one_to_one["psnr_enhanced"] - one_to_one["psnr_short"]).to_numpy(float)
    low, high = _interval(gain)
    nearer = "nearer to the long ones than the short ones are"
    word = f"are {nearer}" if low > 0 else "are farther from the long ones" if high < 0 else None
    word = word or f"cannot be said to be {nearer}, or farther"
    parts = f"{len(gain)} test part{'s' * (len(gain) > 1)}"
    return f"Enhanced images {word}: PSNR differs by {_mean(gain)} dB over {parts}."


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of a mean by Student's t; for one value it is infinite."""
    if len(values) < 2:
        return -np.inf, np.inf
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


def _mean(values: NDArray[np.float64]) -> str:
    low, high = _interval(values)
    interval = f" [{low:.3g}, {high:.3g}]" if np.isfinite(low) else ""
    return f"{values.mean():.3g}{interval}"


def generators(table1: pd.DataFrame) -> list[str]:
    """Say which generators are nearest to held-out slices; those with overlapping intervals tie.

    Parameters
    ----------
    table1 : DataFrame
        `table1.csv`.
    """
    shown = {row["model"]: row for row in with_intervals(table1).to_dict("records")}
    rows = table1.set_index("model").drop([FLOOR, COPY], errors="ignore")
    rows = rows[["frechet", "frechet_low", "frechet_high"]].astype(float).dropna()
    rows = rows.sort_values("frechet")
    if not len(rows):
        return []
    best = str(rows.index[0])
    level = rows[rows["frechet_low"] <= rows["frechet_high"].iloc[0]]
    floor = f"simulated slices of training tubes have {shown[FLOOR]['frechet'] or 'none'}."
    names = [f"{name} {shown[name]['frechet']}" for name in map(str, level.index)]
    if len(rows) == 1:
        claim = f"{names[0]} is the only generator; {floor}"
    elif len(level) == 1:
        claim = (
            f"{names[0]} is smaller than those of the {len(rows) - 1} others (next: "
            f"{rows.index[1]} {shown[str(rows.index[1])]['frechet']}); {floor}"
        )
    else:
        claim = f"the smallest are not told apart: {_listed(names)}; {floor}"
    sentences = [f"Generators, by their Fréchet distance to held-out slices: {claim}"]
    if len(level) == 1 and shown[best].get("c2st"):
        sentences.append(
            f"A classifier tells images of {best} from held-out slices with accuracy "
            f"{shown[best]['c2st']} (0.5: it cannot)."
        )
    return sentences


def broken(table1: pd.DataFrame) -> list[str]:
    """Return the models whose images are like no held-out slice.

    The intervals of both precision (share of images among held-out slices) and coverage (share of
    held-out slices with an image near) end at 0. A model for which either is undefined is not
    returned.
    """
    ends = ["precision_high", "coverage_high"]
    if not set(ends) <= set(table1.columns):
        return []
    rows = table1.set_index("model").drop([FLOOR, COPY], errors="ignore")
    return [str(name) for name in rows.index[(rows[ends].astype(float) == 0).all(axis=1)]]


def for_readers(models: Sequence[str], table1: pd.DataFrame) -> list[str]:
    """Return the models for the Turing test: those that are not broken, or all if all are."""
    unlike = broken(table1)
    return [model for model in models if model not in unlike] or list(models)


def about_broken(names: Sequence[str], left_out: bool) -> str:
    """Say which models are broken, and what that means."""
    is_one = len(names) == 1
    ending = "; the Turing test leaves " + ("it" if is_one else "them") + " out" if left_out else ""
    return (
        f"{_listed(names)} {'is' if is_one else 'are'} marked broken: no image lies among the "
        f"held-out slices and none of these has one beside it (precision and coverage 0){ending}."
    )


def gathered(statements: Sequence[str], models: Sequence[str]) -> list[str]:
    """Join equal statements of `metrics.json` on numbers that cannot be computed."""
    said: dict[str, list[str]] = {}
    for statement in statements:
        name, _, text = statement.partition(": ")
        missing, word, why = text.partition(" cannot be computed")
        if name in models and word:
            num = missing.count(",") + 1
            text = f"{num} number{'s' * (num > 1)} of Table 1{word}{why}"
            said.setdefault(text, []).append(ROWS.get(name, name))
        else:
            said.setdefault(statement, [])
    return [f"{_listed(names)}: {text}." if names else text for text, names in said.items()]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def where(verdicts: pd.DataFrame) -> Mapping[str, str]:
    """Return the parts in which a defect was found, by class (`none`: false calls)."""
    is_found = verdicts["is_right_place"] | (verdicts["is_called"] & (verdicts["defect"] == "none"))
    by_class = verdicts[is_found].groupby("defect", sort=False)["tube"]
    return {str(name): ", ".join(tubes) for name, tubes in by_class}
