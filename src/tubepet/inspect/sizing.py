"""What was found, in full: kind, place and size, by the likelihood of whole defects around it."""

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
NUM_SIZES, NEAR_MM = 9, 2.5
MOST_ROWS = 8192


@dataclass(frozen=True)
class Indication:
    """A place where the measurement differs from the drawing as a defect would make it differ.

    Attributes
    ----------
    kind : str
        The likeliest: void, pit, groove, ring_groove, crack or thinning.
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


class Neighbours:
    """All kinds and sizes of defects around a place, for the size of what was found."""

    def __init__(self, fitted: Fitted, part: Part, ranges_mm: dict[str, list[float]]) -> None:
        self.fitted, self.part, self.ranges_mm = fitted, part, ranges_mm
        self.on_wall = shapes.surface(part, shapes.SPACING_MM * 2 / 3)
        self.all_around = shapes.surface(part, shapes.WALL_SPACING_MM)

    def of(self, best: pd.Series) -> Bank:
        """All kinds that change the activity as the best does."""
        place = best[["x_mm", "y_mm", "z_mm"]].to_numpy(np.float64)
        kinds = shapes.by_kind(self.ranges_mm)
        if best["kind"] == "void":
            steps = np.arange(-1.5, 1.6, 1.0)
            places = place + np.stack(np.meshgrid(*[steps] * 3), axis=-1).reshape(-1, 3)
            return shapes.joined([shapes.voids(places, s) for s in _sizes(*kinds["void"])])
        is_near = np.linalg.norm(self.fitted.moved(self.on_wall.points_mm) - place, axis=1)
        here = shapes.Surface(*(values[is_near < NEAR_MM] for values in self.on_wall))
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


def sized(
    fitted: Fitted, part: Part, bank: Bank, nuisance: Nuisance, z: float, p_value: float
) -> tuple[Indication, Bank]:
    """Kind, place and size by the likelihood of whole defects; and the likeliest of the bank.

    A defect changes the attenuation too: a line that crosses the fluid for L mm counts 1 + L mu
    times as much of a change that puts wall where fluid was (or the reverse).
    """
    some, more = some_rows(len(fitted.rows), MOST_ROWS)
    rows, weight = fitted.rows[some], fitted.weight * more
    own = nuisance.shares[:, some].astype(np.float32)
    change = shares(fitted, bank, rows)
    length_mm = (fitted.trues[rows] / fitted.activity_bq_mm3).astype(np.float32)
    slope = slopes(fitted, bank)

    def gain(per_mm: float) -> Array:
        """Gain of the log-likelihood with each candidate whole."""
        factor = 1 + length_mm * np.float32(per_mm)
        mine = change * factor[:, None]
        ratio = mine.sum(axis=0) / change.sum(axis=0)
        taken = nuisance.inverse @ (weight * (own @ mine))
        rest = mine - own.T @ taken.astype(np.float32)
        # the first order from all events, what is beyond from some
        beyond = weight * (np.log1p(np.maximum(rest, LEAST_CHANGE)) - rest).sum(
            axis=0, dtype=np.float64
        )
        return np.asarray(slope * ratio - nuisance.gradient @ taken + beyond)

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
    return indication, bank.part(np.arange(len(bank)) == best)
