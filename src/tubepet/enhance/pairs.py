"""Slices of short and of long acquisitions of the same tubes, split by tube."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import rng
from tubepet.dataset.collect import SPLITS, collect_slices
from tubepet.dataset.slices import Slices
from tubepet.errors import InputError
from tubepet.types import Volume


@dataclass(frozen=True)
class Pairs:
    """Slices in the unit of the scale: 1 is `scale_bq_mm3`.

    Attributes
    ----------
    short, long : float32 array, shape (N, H, W)
    tubes : str array, shape (N,)
    """

    short: NDArray[np.float32]
    long: NDArray[np.float32]
    tubes: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.tubes)


def collect_pairs(
    short_path: str | os.PathLike[str],
    long_path: str | os.PathLike[str],
    shorts: Iterable[Volume],
    longs: Iterable[Volume],
    truths: Sequence[dict[str, Any]],
    shares: Mapping[str, float],
    margin_mm: float,
    scale_quantile: float,
    seed: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Cut both images of every tube into slices, row by row the same; see `collect_slices`.

    Returns
    -------
    table, info
        As of `collect_slices`; the scale is that of the long slices.

    Raises
    ------
    InputError
        If a split has no tube: networks are fitted on train, compared on val, judged on test.
    """
    for path, images in ((short_path, shorts), (long_path, longs)):
        table, info = collect_slices(
            path, images, truths, shares, margin_mm, scale_quantile,
            rng.stream(seed, "enhance", "split"),
        )  # fmt: skip
    for name in SPLITS:
        if info["num_tubes"][name] == 0:
            raise InputError(
                f"enhance.num_tubes: got {len(truths)}, which leaves no {name} tube, expected more"
            )
    return table, info


def select(short: Slices, long: Slices, split: str) -> Pairs:
    """Return the pairs of one split; not clipped, so that a tube keeps its activity."""
    images = [slices.of(split, is_clipped=False)[:] for slices in (short, long)]
    return Pairs(images[0], images[1], short.tube[short.split == split])
