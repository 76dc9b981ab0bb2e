"""Determine kind, place and size of a found defect, by the likelihood of defects around it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet.inspect import shapes
from tubepet.inspect.fit import Fitted, Nuisance, some_rows
from tubepet.inspect.part import Part
from tubepet.inspect.score import LEAST_CHANGE, shares, slopes
from tubepet.inspect.shapes import Bank

Array = NDArray[np.float64]

LIKELY = 1.92  # loss of log-likelihood at the ends of a 95 % interval
NUM_SIZES, NEAR_MM, PLACES_MM = 9, 2.5, 1.0
MOST_ROWS = 8192


@dataclass(frozen=True)
class Indication:
    """A place where the measurement differs from the drawing as it would by a defect.

    Attributes
    ----------
    kind : str
        The likeliest: void, pit, groove, ring_groove, crack or thinning.
    kinds : dict
        Probability of every kind, if all were equally probable before.
    x_mm, y_mm, z_mm : float
        Place in the scanner's frame.
    size_mm, size_low_mm, size_high_mm : float
        Likeliest size and 95 % interval, cut at the ends of the range that is looked for.
    z : float
        Standard deviations, with defects found before fitted.
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


class Neighbours:
    """All kinds and sizes of defects around a place."""

    def __init__(self, fitted: Fitted, part: Part, ranges_mm: dict[str, list[float]]) -> None:
        self.fitted, self.part, self.ranges_mm = fitted, part, ranges_mm
        surface = shapes.surface(part)
        self.on_wall, self.all_around = surface.spread(PLACES_MM), surface.spread(shapes.RING_MM)

    def of(self, best: pd.Series) -> Bank:
        """Return defects near the best candidate: voids if it is one, else all other kinds."""
        place = best[["x_mm", "y_mm", "z_mm"]].to_numpy(np.float64)
        kinds = shapes.by_kind(self.ranges_mm)
        if best["kind"] == "void":
            steps = np.arange(-1.5, 1.6, 1.0)
            places = place + np.stack(np.meshgrid(*[steps] * 3), axis=-1).reshape(-1, 3)
            return shapes.joined([shapes.voids(places, s) for s in _sizes(*kinds["void"])])
        is_near = np.linalg.norm(self.fitted.moved(self.on_wall.points_mm) - place, axis=1)
        here = self.on_wall.only(is_near < NEAR_MM)
        pieces = []
        for kind, (low_mm, high_mm) in kinds.items():
            if kind == "void":
                continue
            for size_mm in _sizes(low_mm, high_mm):
                pieces.append(shapes.cut(here, kind, size_mm).moved(self.fitted.moved))
                if kind == "groove":
                    ring = shapes.ring_grooves(self.part, self.all_around, size_mm)
                    ring = ring.moved(self.fitted.moved)
                    away_mm = np.abs(ring.table["z_mm"].to_numpy() - place[2])
                    pieces.append(ring.part(away_mm < NEAR_MM))
        return shapes.joined([piece for piece in pieces if len(piece)])


def _sizes(low_mm: float, high_mm: float) -> Array:
    return np.geomspace(low_mm, high_mm, NUM_SIZES)


def gains(fitted: Fitted, part: Part, bank: Bank, nuisance: Nuisance) -> pd.DataFrame:
    """Return the table of a bank with the column gain: of the log-likelihood, by each defect.

    The likelihood is that of whole defects (amplitude 1). A defect changes the attenuation too: on
    a line that crosses the fluid for L mm, a change of fluid into wall (or the reverse) counts
    1 + L mu times as much, with mu the difference of their attenuations.

    Parameters
    ----------
    bank : Bank
        Candidates around the place (`Neighbours.of`).
    """
    some, more = some_rows(len(fitted.rows), MOST_ROWS)
    rows, weight = fitted.rows[some], fitted.weight * more
    own = nuisance.shares[:, some].astype(np.float32)
    change = shares(fitted, bank, rows)
    length_mm = (fitted.trues[rows] / fitted.activity_bq_mm3).astype(np.float32)
    slope = slopes(fitted, bank)

    def gain(per_mm: float) -> Array:
        """Gain of the log-likelihood by each candidate."""
        factor = 1 + length_mm * np.float32(per_mm)
        mine = change * factor[:, None]
        ratio = mine.sum(axis=0) / change.sum(axis=0)
        taken = nuisance.inverse @ (weight * (own @ mine))
        rest = mine - own.T @ taken.astype(np.float32)
        # the first order comes from all events, higher ones from some
        beyond = weight * (np.log1p(np.maximum(rest, LEAST_CHANGE)) - rest).sum(
            axis=0, dtype=np.float64
        )
        return np.asarray(slope * ratio - nuisance.gradient @ taken + beyond)

    is_void = bank.table["kind"].to_numpy() == "void"
    # a void may be air or metal: the one that explains the events better
    solid, air = gain(part.wall_per_mm - part.fluid_per_mm), gain(-part.fluid_per_mm)
    return bank.table.assign(gain=np.where(is_void, np.maximum(air, solid), solid))


def indication(table: pd.DataFrame, z: float, p_value: float, noise: float) -> Indication:
    """Return the likeliest defect of a table of `gains`.

    Parameters
    ----------
    z, p_value : float
        As of `Indication`.
    noise : float
        How many times as noisy the events are as counts alone.
    """
    row = table.iloc[int(np.argmax(table["gain"]))]
    of_kind = table.groupby("kind")["gain"].max()
    weights = np.exp((of_kind - of_kind.max()) / noise**2)
    by_size = table[table["kind"] == row["kind"]].groupby("size_mm")["gain"].max()
    likely = by_size.index[by_size >= row["gain"] - LIKELY * noise**2]
    return Indication(
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
