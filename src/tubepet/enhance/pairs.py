"""Pairs of slices at the same place, from the short and the long acquisition of each tube."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import io
from tubepet.dataset.collect import scale_of
from tubepet.dataset.slices import TOLERANCE, Slices
from tubepet.errors import InputError
from tubepet.types import Volume


@dataclass(frozen=True)
class Pairs:
    """Pairs of slices in units of the scale.

    Attributes
    ----------
    short, long : float32 array, shape (N, H, W)
    tubes : str array, shape (N,)
        The tube of each pair.
    """

    short: NDArray[np.float32]
    long: NDArray[np.float32]
    tubes: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.tubes)


def collect_long(
    path: str | os.PathLike[str],
    longs: Iterable[Volume],
    table: pd.DataFrame,
    info: Mapping[str, Any],
    scale_quantile: float,
) -> dict[str, Any]:
    """Cut the long image of every tube into the slices of the data set.

    Parameters
    ----------
    path : path
        `.npy` file to write: float32, shape (N, ny, nx), Bq/mm3, one slice per row of `table`.
    longs : iterable of Volume
        Bq/mm3, in the order of the tubes in `table`; read one by one.
    table, info
        Results of `tubepet.dataset.collect.collect_slices` for the short images.
    scale_quantile : float
        The scale is this quantile of the pixels of the long training slices.

    Returns
    -------
    dict
        `info` with the scale of the long slices.

    Raises
    ------
    InputError
        If a long image has no slice at a place of the table.
    """
    tubes = [(str(tube), rows) for tube, rows in table.groupby("tube", sort=False)]
    images = iter(longs)
    first = next(images)

    def slices() -> Iterator[NDArray[np.float32]]:
        for i, (tube, rows) in enumerate(tubes):
            yield from _at(first if i == 0 else next(images), tube, rows["z_mm"].to_numpy(float))

    io.write_stack(path, slices(), (len(table), *first.grid.shape[1:]))
    i_train = np.flatnonzero(table["split"] == "train")
    return {**info, "scale_bq_mm3": scale_of(io.read_array(path), i_train, scale_quantile)}


def _at(image: Volume, tube: str, z_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    axis_mm = image.grid.axes_mm()[0]
    levels = planes(axis_mm, z_mm)
    away_mm = float(np.abs(axis_mm[levels] - z_mm).max())
    if away_mm > TOLERANCE * image.grid.voxel_mm[0]:
        raise InputError(
            f"{tube}: got a long image whose slices lie up to {away_mm:g} mm from those of the "
            "short one, expected the same voxels"
        )
    return np.asarray(image.array[levels], np.float32)


def planes(axis_mm: NDArray[np.float64], z_mm: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the plane of an image, at `axis_mm`, that is nearest to each z."""
    return np.abs(axis_mm[None] - z_mm[:, None]).argmin(1)


def read(paths: Mapping[str, str]) -> tuple[Slices, Slices]:
    """Read the short and the long slices: paths `short`, `long`, and their `table` and `info`.

    Raises
    ------
    InputError
        As `Slices.read`.
    """
    short, long = (
        Slices.read(images, paths["table"], paths["info"])
        for images in (paths["short"], paths["long"])
    )
    return short, long


def select(short: Slices, long: Slices, split: str) -> Pairs:
    """Return the pairs of one split, not clipped, so that each tube keeps its total activity."""
    images = [slices.of(split, is_clipped=False)[:] for slices in (short, long)]
    return Pairs(images[0], images[1], short.tube[short.split == split])
