"""Inspect a part: is there a defect, where, how large, how sure.

The largest z over all candidates is the statistic of a part. Its distribution without a defect is
drawn for this very part (`score`). The square of the largest of many nearly normal numbers has a
Gumbel distribution. It is fitted to the draws, and gives the threshold at the wanted false-call
rate. A defect that is found joins the fit, and the search goes on for the next.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import gumbel_r, norm

from tubepet import rng
from tubepet.inspect import shapes
from tubepet.inspect.fit import Fitted, Nuisance, extended, fit, pose_beside
from tubepet.inspect.part import Part
from tubepet.inspect.score import NUM_DRAWS, Candidates, Scores, expected_z, shares, slopes
from tubepet.inspect.shapes import Bank
from tubepet.inspect.sizing import Indication, Neighbours, gains, indication
from tubepet.logs import log
from tubepet.reconstruct.problem import Instrument, Measurement
from tubepet.reconstruct.projection.response import Response
from tubepet.types import Volume

Array = NDArray[np.float64]

DEFECT, CLEAN, UNKNOWN, MISFIT = "defect", "no defect found", "cannot tell", "does not fit"
# Candidates of a smaller expected z are not tested: a call of them would be noise.
LEAST_EXPECTED_Z = 2.0
MOST_INDICATIONS = 5
MOST_ROUNDS = 2 * MOST_INDICATIONS  # of the search, which may come upon a defect again
# Correlation of the changes by two defects above which they are one: some 4 mm apart at a
# resolution of 5 mm. A defect of another shape than the candidates leaves something beside it.
ONE_DEFECT = 0.5
# A part that surely differs more from its drawing is another one, or lies elsewhere. In 1 s, 12
# clean tubes came out up to 0.07 mm narrower than their own drawings, and up to 0.13 mm longer.
MOST_MOVED = {"x_mm": 3.0, "y_mm": 3.0, "z_mm": 3.0, "wider_mm": 0.3, "longer_mm": 0.5}
SURE = 2.0  # standard deviations
# Quantile of |z| by which its noise is judged, few of which are of a defect; share of draws that it
# must exceed to be sure.
BULK, SURELY = 0.75, 0.95
# With so many coincidences errors of model and calibration are as large as chance. Clean parts have
# a variance of z of 1.3 with 230,000 of them, and of 1.7 to 3.3 with 1.6 to 3 million.
MODEL_COUNTS = 1e6


@dataclass(frozen=True)
class Inspection:
    """The answer for one part.

    Attributes
    ----------
    verdict : str
        `DEFECT`, `CLEAN`, `UNKNOWN` (every defect would be missed more often than found) or
        `MISFIT` (the part differs from the drawing).
    reason : str
        Why, in one sentence.
    false_call_rate : float
        Share of clean parts that get the verdict `DEFECT`.
    threshold_z, largest_z : float
        Infinite and 0 if no candidate is tested.
    p_value : float
        That of the largest z.
    noise : float
        `noise_of`; all z are divided by it.
    indications : list of Indication
        What was found, in that order.
    found : dict
        By kind and size (mm): probability that such a defect would have been found, mean over the
        places where it may be.
    fitted : Fitted
        The fit of the drawing, without defects.
    pose, pose_errors : dict
        By `fit.POSE`, with the defects that were found fitted beside it.
    bank : Bank
        Tested candidates, moved with the part.
    scores : Scores
        Scores of the bank, before any indication.
    """

    verdict: str
    reason: str
    false_call_rate: float
    threshold_z: float
    largest_z: float
    p_value: float
    noise: float
    indications: list[Indication]
    found: dict[str, dict[str, float]]
    fitted: Fitted
    pose: dict[str, float]
    pose_errors: dict[str, float]
    bank: Bank
    scores: Scores

    def as_json(self) -> dict[str, Any]:
        """Return the answer as plain data."""
        fitted = self.fitted
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "false_call_rate": self.false_call_rate,
            "threshold_z": self.threshold_z if math.isfinite(self.threshold_z) else None,
            "largest_z": self.largest_z,
            "p_value": self.p_value,
            "noise": round(self.noise, 3),
            "indications": [asdict(one) for one in self.indications],
            "would_be_found": self.found,
            "coincidences": len(fitted.rates),
            "activity_bq_mm3": fitted.activity_bq_mm3,
            "pose": self.pose,
            "pose_errors": self.pose_errors,
        }


def inspect(
    measured: Measurement,
    part: Part,
    ranges_mm: dict[str, list[float]],
    instrument: Instrument,
    response: Response,
    false_call_rate: float,
    seed: int,
) -> Inspection:
    """Look for defects anywhere in a part.

    Parameters
    ----------
    measured : Measurement
        Its attenuation map is `part.mu`.
    ranges_mm : dict
        Smallest and largest size (mm) by class of defect to look for.
    false_call_rate : float
        Share of clean parts that may be called, 0 to 1.
    seed : int
        Seed of the draws without a defect.

    Raises
    ------
    InputError
        As `acquisition.model_known`.
    """
    fitted = fit(measured, part, instrument, response)
    everything = shapes.bank(part, ranges_mm).moved(fitted.moved)
    rough = expected_z(fitted, everything)
    bank = everything.part(rough >= LEAST_EXPECTED_Z)
    log.info("%d of %d candidates can be found at these counts", len(bank), len(everything))
    random = rng.stream(seed, "inspect", "none")
    if len(bank) == 0:
        nothing = Scores(np.empty(0), np.empty(0), np.empty((1, 0)))
        reason = (
            f"{len(fitted.rates)} coincidences are too few: no defect of any size looked for would "
            f"reach a z of {LEAST_EXPECTED_Z:g}"
        )
        found = _found(everything, rough, np.inf)
        return Inspection(
            UNKNOWN, reason, false_call_rate, np.inf, 0.0, 1.0, 1.0, [], found, fitted,
            *pose_beside(fitted, fitted.nuisance), bank, nothing,
        )  # fmt: skip
    candidates = Candidates(fitted, bank)
    scores = candidates.score(fitted.nuisance, NUM_DRAWS, random)
    law = _law(scores)
    threshold = float(np.sqrt(law.isf(false_call_rate)))
    near = Neighbours(fitted, part, ranges_mm)
    steps, left_z = _indications(near, bank, candidates, scores, law, false_call_rate, random)
    # a large defect makes z larger all around, as long as it is not fitted
    noise = min(noise_of(z, scores.none, len(fitted.rates)) for z in (scores.z, left_z))
    scores = Scores(scores.z / noise, scores.expected_z / noise, scores.none)
    found = _found(everything, rough / noise, threshold)
    indications, nuisance = [], fitted.nuisance
    for step in steps:
        z = step.z / noise
        p_value = _p_value(law, z)
        if p_value > false_call_rate:
            break
        indications.append(indication(step.gains, z, p_value, noise))
        nuisance = step.after
    pose, errors = pose_beside(fitted, nuisance)
    errors = {name: noise * error for name, error in errors.items()}
    largest = float(scores.z.max())
    verdict, reason = _verdict(pose, errors, indications, found, threshold, largest)
    p_value = _p_value(law, largest)
    log.info("%s: %s; the map is %.2f times as noisy as counts alone", verdict, reason, noise)
    return Inspection(
        verdict, reason, false_call_rate, threshold, largest, p_value, noise, indications, found,
        fitted, pose, errors, bank, scores,
    )  # fmt: skip


class Step(NamedTuple):
    """A defect that was found: its z, `sizing.gains` around it, and what is fitted then."""

    z: float
    gains: pd.DataFrame
    after: Nuisance


def _law(scores: Scores) -> Any:
    """Distribution of the squared largest z without a defect."""
    largest = np.maximum(scores.none.max(axis=1), 0.0)
    return gumbel_r(*gumbel_r.fit(largest**2))


def noise_of(z: Array, none: Array, num_events: int) -> float:
    """Return how many times as noisy z is over all candidates as counts alone explain.

    Errors of model and calibration make z larger everywhere, the more the longer one measures. What
    most candidates show is no defect, so it is taken for noise, as in Efron's empirical null (2004,
    doi:10.1198/016214504000000089). If z is not surely noisier than the draws, one part says little
    about it, for candidates overlap. Then the variance beyond that of counts is expected to be
    `num_events` / `MODEL_COUNTS`, give or take as much, and z of this part adds what it knows.

    Parameters
    ----------
    z : float64 array, shape (c,)
    none : float64 array, shape (draws, c)
        z in drawn acquisitions without a defect.
    num_events : int
        Number of coincidences.
    """
    own, drawn = np.quantile(np.abs(z), BULK), np.quantile(np.abs(none), BULK, axis=1)
    usual = float(np.median(drawn))
    seen, error = float(own / usual) ** 2 - 1, float(np.std((drawn / usual) ** 2))
    if own > np.quantile(drawn, SURELY):
        return math.sqrt(1 + seen)
    expected = num_events / MODEL_COUNTS
    more = expected + (seen - expected) * expected**2 / (expected**2 + error**2)
    return math.sqrt(1 + max(more, 0.0))


def _p_value(law: Any, largest: float) -> float:
    return float(law.sf(max(largest, 0.0) ** 2))


def _found(bank: Bank, expected_z: Array, threshold: float) -> dict[str, dict[str, float]]:
    """Probability to find a defect of each kind and size, mean over its places."""
    chance = norm.sf(threshold - expected_z)
    table = bank.table.assign(chance=chance)[["kind", "size_mm", "chance"]]
    result: dict[str, dict[str, float]] = {}
    for (kind, size_mm), rows in table.groupby(["kind", "size_mm"], sort=False):
        result.setdefault(str(kind), {})[f"{size_mm:.2f}"] = round(float(rows["chance"].mean()), 4)
    return result


def _indications(
    near: Neighbours, bank: Bank, candidates: Candidates, scores: Scores, law: Any,
    false_call_rate: float, random: np.random.Generator,
) -> tuple[list[Step], Array]:  # fmt: skip
    """Find defects one after the other.

    Returns
    -------
    list of Step
    float64 array, shape (c,)
        z of all candidates with all of these fitted.
    """
    found: list[Step] = []
    changes: list[Array] = []  # of the rates, by each of them
    fitted, nuisance = near.fitted, near.fitted.nuisance
    for _ in range(MOST_ROUNDS):
        best = int(np.argmax(scores.z))
        z = float(scores.z[best])
        if _p_value(law, z) > false_call_rate or len(found) == MOST_INDICATIONS:
            break
        around = near.of(bank.table.iloc[best])
        table = gains(fitted, near.part, around, nuisance)
        # the best candidate is fitted too, so that the search does not end up there again
        both = shapes.joined([around.only(int(np.argmax(table["gain"]))), bank.only(best)])
        own = shares(fitted, both, fitted.rows).T.astype(np.float64)
        is_new = all(abs(_correlation(own[0], other)) < ONE_DEFECT for other in changes)
        for change, slope in zip(own, slopes(fitted, both), strict=True):
            nuisance = extended(nuisance, change, float(slope), fitted.weight)
        if is_new:
            found.append(Step(z, table, nuisance))
            changes.append(own[0])
        scores = candidates.score(nuisance, 0, random)  # the distribution stays that of the start
    return found, scores.z


def _correlation(one: Array, other: Array) -> float:
    """Correlation of two changes of the rates, relative to their noise."""
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def _verdict(
    pose: dict[str, float], errors: dict[str, float], indications: list[Indication],
    found: dict[str, dict[str, float]], threshold: float, largest: float,
) -> tuple[str, str]:  # fmt: skip
    """Verdict and its reason."""
    for name, most in MOST_MOVED.items():
        value, error = pose[name], errors[name]
        if abs(value) - SURE * error > most:
            return MISFIT, (
                f"the part is another than drawn, or lies elsewhere: {name} is {value:.2f} +- "
                f"{error:.2f}, expected within {most:g} of the drawing"
            )
    if len(indications) == MOST_INDICATIONS:
        return MISFIT, (
            f"{MOST_INDICATIONS} indications and more: the drawing or the model does not fit these "
            "events"
        )
    if indications:
        first = indications[0]
        return DEFECT, (
            f"{first.kind} at ({first.x_mm:.1f}, {first.y_mm:.1f}, {first.z_mm:.1f}) mm, z "
            f"{first.z:.1f}, threshold {threshold:.1f}"
        )
    best = max(chance for sizes in found.values() for chance in sizes.values())
    if best < 0.5:
        return UNKNOWN, (
            f"no kind of defect looked for would have been found more often than in {best:.0%} of "
            "the parts that have it"
        )
    return CLEAN, f"largest z {largest:.1f}, threshold {threshold:.1f}"


def score_map(inspection: Inspection) -> Volume:
    """Return the largest z of the candidates near each voxel of the image; 0 if none is near."""
    grid = inspection.fitted.grid
    image = np.zeros(grid.shape, np.float32)
    z, axes = inspection.scores.z, grid.axes_mm()
    places = inspection.bank.table[["z_mm", "y_mm", "x_mm"]].to_numpy()
    reach = np.array([[-shapes.SPACING_MM], [shapes.SPACING_MM]])
    ends = [np.searchsorted(axis, at + reach) for axis, at in zip(axes, places.T, strict=True)]
    for i in np.argsort(z):  # the largest last
        box = tuple(slice(*end[:, i]) for end in ends)
        squares = ((axis[b] - at) ** 2 for axis, b, at in zip(axes, box, places[i], strict=True))
        image[box][sum(np.ix_(*squares)) < shapes.SPACING_MM**2] = z[i]
    return Volume(image, grid, "z of the likeliest defect")
