"""From scores to what an inspector asks: is there a defect, where, how large, how sure.

The largest z over all candidates is the statistic of a part. Its distribution without a defect is
drawn for this very part (`score`); the square of the largest of many nearly normal numbers has a
Gumbel distribution, which is fitted to the draws and gives the threshold of the false-call rate
asked for. A defect that is found is fitted from then on, and the next is looked for beside it.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import gumbel_r, norm

from tubepet import rng
from tubepet.inspect import shapes
from tubepet.inspect.fit import Fitted, Nuisance, extended, fit
from tubepet.inspect.part import Part
from tubepet.inspect.score import Scores, expected_changes, information, score, shares
from tubepet.inspect.shapes import Bank
from tubepet.logs import log
from tubepet.reconstruct.problem import Instrument, Measurement, Settings
from tubepet.types import Volume

Array = NDArray[np.float64]

DEFECT, CLEAN, UNKNOWN, MISFIT = "defect", "no defect found", "cannot tell", "does not fit"
# What has a smaller z even where it is there can only be noise when it is called.
LEAST_EXPECTED_Z = 2.0
LINES_FOR_INFORMATION = 4000
MOST_INDICATIONS = 5
# A drawing that is further off than this is another part, or lies elsewhere.
MOST_MOVED = {"x_mm": 3.0, "y_mm": 3.0, "z_mm": 3.0, "wider_mm": 0.5}
LIKELY = 1.92  # loss of log-likelihood at the ends of a 95 % interval
NUM_SIZES, NEAR_MM = 9, 2.5
LINES_FOR_SIZES = 20000


@dataclass(frozen=True)
class Indication:
    """A place where the measurement differs from the drawing as a defect would make it differ.

    Attributes
    ----------
    kind : str
        The likeliest of `shapes.KINDS`.
    kinds : dict
        Probability of every kind, all being as probable before.
    x_mm, y_mm, z_mm : float
        In the scanner.
    size_mm, size_low_mm, size_high_mm : float
        Likeliest, and 95 % interval; at the end of the range looked at if it is open there.
    z : float
        Standard deviations, defects found before being fitted.
    p_value : float
        Probability of so large a z anywhere in a part without (further) defects.
    """

    kind: str
    kinds: dict[str, float]
    x_mm: float
    y_mm: float
    z_mm: float
    size_mm: float
    size_low_mm: float
    size_high_mm: float
    z: float
    p_value: float


@dataclass(frozen=True)
class Inspection:
    """The answer for one part.

    Attributes
    ----------
    verdict : str
        `DEFECT`, `CLEAN`, `UNKNOWN` (nothing could be found at this dose) or `MISFIT`.
    reason : str
        Why, in one sentence.
    false_call_rate : float
        Of clean parts that get the verdict `DEFECT`.
    threshold_z, largest_z : float
        Infinite and 0 if nothing can be found.
    p_value : float
        Of the largest.
    indications : list of Indication
    found : dict
        By kind and size (mm): probability that such a defect would have been found, mean over the
        places where it may be.
    fitted : Fitted
    bank : Bank
        Where the part lies.
    scores : Scores
        Of the bank, before any indication.
    """

    verdict: str
    reason: str
    false_call_rate: float
    threshold_z: float
    largest_z: float
    p_value: float
    indications: list[Indication]
    found: dict[str, dict[str, float]]
    fitted: Fitted
    bank: Bank
    scores: Scores

    def as_json(self) -> dict[str, Any]:
        """Return what is written of it."""
        fitted = self.fitted
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "false_call_rate": self.false_call_rate,
            "threshold_z": self.threshold_z if math.isfinite(self.threshold_z) else None,
            "largest_z": self.largest_z,
            "p_value": self.p_value,
            "indications": [asdict(one) for one in self.indications],
            "would_be_found": self.found,
            "coincidences": len(fitted.rates),
            "activity_bq_mm3": fitted.activity_bq_mm3,
            "pose": fitted.pose,
            "pose_errors": fitted.errors,
        }


def inspect(
    measured: Measurement,
    part: Part,
    ranges_mm: dict[str, list[float]],
    instrument: Instrument,
    settings: Settings,
    false_call_rate: float,
    seed: int,
) -> Inspection:
    """Look for defects anywhere in a part.

    Parameters
    ----------
    measured : Measurement
        Its attenuation map is `part.mu`.
    ranges_mm : dict
        Smallest and largest size of the classes of defects to look for.
    settings : Settings
        psf (core and tail) and sensitivity_stride.
    false_call_rate : float
        Share of clean parts that may be called, 0 to 1.

    Raises
    ------
    InputError
        As `acquisition.model_known`.
    """
    fitted = fit(measured, part, instrument, settings)
    everything = shapes.bank(part, ranges_mm)
    everything = _moved(everything, fitted)
    rough = np.sqrt(
        np.maximum(information(fitted, everything, fitted.nuisance, LINES_FOR_INFORMATION), 0.0)
    )
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
            UNKNOWN, reason, false_call_rate, np.inf, 0.0, 1.0, [], found, fitted, bank, nothing
        )
    scores = score(fitted, bank, fitted.nuisance, random)
    law = _law(scores)
    threshold = float(np.sqrt(law.isf(false_call_rate)))
    largest = float(scores.z.max())
    found = _found(everything, rough, threshold)
    indications = _indications(fitted, part, ranges_mm, bank, scores, law, false_call_rate, random)
    verdict, reason = _verdict(fitted, indications, found, threshold, largest)
    p_value = _p_value(law, largest)
    log.info("%s: %s", verdict, reason)
    return Inspection(
        verdict, reason, false_call_rate, threshold, largest, p_value, indications, found, fitted,
        bank, scores,
    )  # fmt: skip


def _moved(bank: Bank, fitted: Fitted) -> Bank:
    """Put the candidates where the part lies; it turns too little to turn their shapes."""
    blobs, table = bank.blobs.copy(), bank.table.copy()
    blobs[:, 1:4] = fitted.moved(blobs[:, 1:4])
    table[["x_mm", "y_mm", "z_mm"]] = fitted.moved(table[["x_mm", "y_mm", "z_mm"]].to_numpy())
    return Bank(table, blobs, bank.owner)


def _law(scores: Scores) -> Any:
    """Distribution of the squared largest z without a defect."""
    largest = np.maximum(scores.none.max(axis=1), 0.0)
    return gumbel_r(*gumbel_r.fit(largest**2))


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
    fitted: Fitted, part: Part, ranges_mm: dict[str, list[float]], bank: Bank, scores: Scores,
    law: Any, false_call_rate: float, random: np.random.Generator,
) -> list[Indication]:  # fmt: skip
    """Find defects one after the other."""
    found: list[Indication] = []
    nuisance = fitted.nuisance
    while len(found) < MOST_INDICATIONS:
        best = int(np.argmax(scores.z))
        p_value = _p_value(law, float(scores.z[best]))
        if p_value > false_call_rate:
            break
        near = _near(fitted, part, ranges_mm, bank.table.iloc[best])
        indication, own, total = _sized(
            fitted, part, near, nuisance, float(scores.z[best]), p_value
        )  # fmt: skip
        found.append(indication)
        nuisance = extended(nuisance, own, total)
        scores = score(fitted, bank, nuisance, random)
    return found


def _near(fitted: Fitted, part: Part, ranges_mm: dict[str, list[float]], best: pd.Series) -> Bank:
    """All kinds that change the activity as the best does, in many sizes, around its place."""
    place = best[["x_mm", "y_mm", "z_mm"]].to_numpy(np.float64)
    is_void = best["kind"] == "void"
    pieces = []
    on_wall = shapes.surface(part, shapes.SPACING_MM * 2 / 3)
    here = np.linalg.norm(fitted.moved(on_wall.points_mm) - place, axis=1) < NEAR_MM
    on_wall = shapes.Surface(*(values[here] for values in on_wall))
    for kind, (low_mm, high_mm) in shapes.by_kind(ranges_mm).items():
        if (kind == "void") != is_void:
            continue
        for size_mm in np.geomspace(low_mm, high_mm, NUM_SIZES):
            if is_void:
                steps = np.arange(-1.5, 1.6, 1.0)
                offsets = np.stack(np.meshgrid(*[steps] * 3), axis=-1).reshape(-1, 3)
                pieces.append(shapes.voids(place + offsets, size_mm))
                continue
            piece = shapes.cut(on_wall, kind, size_mm)
            pieces.append(_moved(piece, fitted))
            if kind == "groove":
                ring = shapes.ring_grooves(
                    part, shapes.surface(part, shapes.SPACING_MM * 4 / 3), size_mm
                )
                ring = _moved(ring, fitted)
                pieces.append(ring.part(np.abs(ring.table["z_mm"].to_numpy() - place[2]) < 2.5))
    return shapes.joined([piece for piece in pieces if len(piece)])


def _sized(
    fitted: Fitted, part: Part, bank: Bank, nuisance: Nuisance, z: float, p_value: float
) -> tuple[Indication, Array, float]:
    """Kind, place and size by the likelihood of whole defects; shares and total of the likeliest.

    A defect changes the attenuation too: a line that crosses the fluid for L mm counts 1 + L mu
    times as much of a change that puts wall where fluid was (or the reverse).
    """
    rows = np.arange(0, len(fitted.rates), max(len(fitted.rates) // LINES_FOR_SIZES, 1))
    weight = len(fitted.rates) / len(rows)
    change = shares(fitted, bank, rows).astype(np.float64)
    length_mm = fitted.trues[rows] / fitted.activity_bq_mm3
    own = nuisance.shares[:, rows]
    inverse = np.linalg.inv(weight * (own @ own.T) + np.diag(nuisance.prior))
    totals = expected_changes(fitted, bank)

    def gain(per_mm: float) -> Array:
        """Gain of the log-likelihood with each candidate whole."""
        factor = 1 + length_mm * per_mm
        mine = change * factor[:, None]
        ratio = mine.sum(axis=0) / change.sum(axis=0)
        taken = inverse @ (weight * (own @ mine))
        rest = mine - own.T @ taken
        expected = totals * ratio - nuisance.totals @ taken
        logs = weight * np.log1p(np.maximum(rest, -0.9)).sum(axis=0)
        return np.asarray(logs - expected)

    is_void = bank.table["kind"].to_numpy() == "void"
    # a void may be air or metal; whichever explains the events better
    solid, air = gain(part.wall_per_mm - part.fluid_per_mm), gain(-part.fluid_per_mm)
    gains = np.where(is_void, np.maximum(air, solid), solid)
    table = bank.table.assign(gain=gains)
    best = int(np.argmax(gains))
    row = table.iloc[best]
    of_kind = table.groupby("kind")["gain"].max()
    weights = np.exp(of_kind - of_kind.max())
    by_size = table[table["kind"] == row["kind"]].groupby("size_mm")["gain"].max()
    likely = by_size.index[by_size >= row["gain"] - LIKELY]
    indication = Indication(
        kind=str(row["kind"]),
        kinds={str(k): round(float(v), 3) for k, v in (weights / weights.sum()).items()},
        x_mm=float(row["x_mm"]),
        y_mm=float(row["y_mm"]),
        z_mm=float(row["z_mm"]),
        size_mm=float(row["size_mm"]),
        size_low_mm=float(likely.min()),
        size_high_mm=float(likely.max()),
        z=z,
        p_value=p_value,
    )
    one = bank.part(np.arange(len(bank)) == best)
    all_rows = np.arange(len(fitted.rates))
    return indication, shares(fitted, one, all_rows)[:, 0].astype(np.float64), float(totals[best])


def _verdict(
    fitted: Fitted, indications: list[Indication], found: dict[str, dict[str, float]],
    threshold: float, largest: float,
) -> tuple[str, str]:  # fmt: skip
    """Verdict and its reason."""
    off = [name for name, most in MOST_MOVED.items() if abs(fitted.pose[name]) > most]
    if off:
        name = off[0]
        return MISFIT, (
            f"{name} is {fitted.pose[name]:.2f}: the drawing does not fit these events, expected "
            f"at most {MOST_MOVED[name]:g}"
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
    """Return the largest z of the candidates around each voxel of the image; 0: none is near."""
    grid = inspection.fitted.model.grid
    image = np.zeros(grid.shape, np.float32)
    table = inspection.bank.table
    places = table[["z_mm", "y_mm", "x_mm"]].to_numpy()
    axes = np.meshgrid(*grid.axes_mm(), indexing="ij", sparse=True)
    order = np.argsort(inspection.scores.z)
    for i in order:  # the largest last
        away = sum((axis - at) ** 2 for axis, at in zip(axes, places[i], strict=True))
        image[away < shapes.SPACING_MM**2] = inspection.scores.z[i]
    return Volume(image, grid, "z of the likeliest defect")
