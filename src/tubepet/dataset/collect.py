"""Collect the slices of all tubes in one data set, split by tube (never by slice).

Slices are written image by image, because those of thousands of tubes do not fit in memory.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import io
from tubepet.dataset.drawing import SliceGrid, draw_slices
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.phantom.geometry import Sampled
from tubepet.phantom.spec import Tube
from tubepet.types import Grid, Volume

SPLITS = ("train", "val", "test")
MOST_VOLUMES = 50  # training tubes; the fit of the surrogate uses 40 of them


def split_tubes(
    tubes: Sequence[str], shares: Mapping[str, float], rng: np.random.Generator
) -> dict[str, str]:
    """Assign every tube to train, val or test, at random.

    Parameters
    ----------
    tubes : sequence of str
    shares : mapping
        Share of train, val and test; they add up to 1.

    Returns
    -------
    dict
        Split by tube. Train and test have at least one tube; val may be empty.

    Raises
    ------
    InputError
        If there are fewer than two tubes.
    """
    num = len(tubes)
    if num < 2:
        raise InputError(f"phantom.num_tubes: got {num}, expected at least 2 (train and test)")
    num_test = min(max(round(shares["test"] * num), 1), num - 1)
    num_val = min(round(shares["val"] * num), num - num_test - 1)
    names = ["test"] * num_test + ["val"] * num_val + ["train"] * (num - num_test - num_val)
    shuffled = rng.permutation(np.asarray(tubes))
    return {str(tube): name for tube, name in zip(shuffled, names, strict=True)}


def collect_slices(
    slices_path: str | os.PathLike[str],
    images: Iterable[Volume],
    truths: Sequence[dict[str, Any]],
    shares: Mapping[str, float],
    margin_mm: float,
    scale_quantile: float,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Cut the images of all tubes into slices and write them to a file, tube by tube.

    Parameters
    ----------
    slices_path : path
        `.npy` file to write: float32, shape (num_slices, ny, nx), Bq/mm3.
    images : iterable of Volume
        Bq/mm3, all on one grid; read one by one.
    truths : sequence of dict
        ``truth.json`` of the same tubes; tubes are centred on z = 0.
    shares : mapping
        See `split_tubes`.
    margin_mm : float
        A slice is kept if its centre is at least this far inside the tube's ends.
    scale_quantile : float
        The scale is this quantile of the pixels of the training slices.

    Returns
    -------
    DataFrame
        One row per slice: i_slice, tube, split, family, defect, has_defect, z_mm.
    dict
        unit, pixel_mm, slice_mm, scale_bq_mm3, num_slices and num_tubes per split.

    Raises
    ------
    InputError
        If a split has tubes but no slice.
    """
    remaining = iter(images)
    first = next(remaining)
    grid = first.grid
    split = split_tubes([truth["tube"] for truth in truths], shares, rng)
    table = pd.concat(
        [_rows_of(truth, split[truth["tube"]], grid, margin_mm) for truth in truths],
        ignore_index=True,
    )
    table.insert(0, "i_slice", np.arange(len(table)))
    num_tubes = {name: list(split.values()).count(name) for name in SPLITS}
    num_slices = {name: int((table["split"] == name).sum()) for name in SPLITS}
    for name in SPLITS:
        if num_tubes[name] > 0 and num_slices[name] == 0:
            raise InputError(
                f"reconstruct.slice_margin_mm: got {margin_mm:g} mm, which leaves no {name} slice, "
                "expected less than half the tubes' length"
            )
    levels = (_levels(truth, grid, margin_mm) for truth in truths)
    slices = _cut(itertools.chain([first], remaining), levels, grid)
    io.write_stack(slices_path, slices, (len(table), *grid.shape[1:]))
    i_train = np.flatnonzero(table["split"] == "train")
    scale = scale_of(io.read_array(slices_path), i_train, scale_quantile)
    log.info("%d tubes in, slices out: %s, scale %.4g Bq/mm3", len(truths), num_slices, scale)
    return table, {
        "unit": "Bq/mm3",
        "pixel_mm": grid.voxel_mm[2],
        "slice_mm": grid.voxel_mm[0],
        "scale_bq_mm3": scale,
        "num_slices": num_slices,
        "num_tubes": num_tubes,
    }


def collect_volumes(
    paths: Mapping[str, str | os.PathLike[str]],
    table: pd.DataFrame,
    read: Callable[[str], Volume],
    tubes: Mapping[str, Tube | Sampled],
    grid: SliceGrid,
) -> pd.DataFrame:
    """Write whole volumes of training tubes, and their drawings, for models that make volumes.

    Parameters
    ----------
    paths : mapping
        `.npy` files to write, float32, shape (T, nz, ny, nx): `volumes` (Bq/mm3) and `fluid`
        (volume fractions).
    table : DataFrame
        ``slices.parquet``.
    read : function
        Returns the image of a tube.
    tubes : mapping of Tube or Sampled
        By name, as they were simulated.
    grid : SliceGrid

    Returns
    -------
    DataFrame
        One row per tube, at most `MOST_VOLUMES`, evenly taken: tube, num_slices (its training
        slices).
    """
    train = table[table["split"] == "train"]
    held = train.groupby("tube", sort=False).size().rename("num_slices").reset_index()
    chosen = held.iloc[io.evenly(np.arange(len(held)), MOST_VOLUMES)].reset_index(drop=True)
    images = [read(name) for name in chosen["tube"]]
    z_mm = images[0].grid.axes_mm()[0]
    drawn = [draw_slices(tubes[name], z_mm, grid).fluid for name in chosen["tube"]]
    io.write_array(paths["volumes"], np.stack([image.array for image in images]))
    io.write_array(paths["fluid"], np.stack(drawn))
    return chosen


def _levels(truth: dict[str, Any], grid: Grid, margin_mm: float) -> NDArray[np.intp]:
    """Return the indices along z of the slices of a tube that are kept."""
    z_mm = grid.axes_mm()[0]
    return np.flatnonzero(np.abs(z_mm) <= truth["length_mm"] / 2 - margin_mm)


def _rows_of(truth: dict[str, Any], split: str, grid: Grid, margin_mm: float) -> pd.DataFrame:
    """Return one tube's rows of the table."""
    z_mm = grid.axes_mm()[0][_levels(truth, grid, margin_mm)]
    low_mm, high_mm = z_mm - grid.voxel_mm[0] / 2, z_mm + grid.voxel_mm[0] / 2
    has_defect = np.zeros(len(z_mm), bool)
    for defect in truth["defects"]:
        first_mm, last_mm = defect["box_mm"][2]
        has_defect |= (first_mm < high_mm) & (last_mm > low_mm)
    facts = {"tube": truth["tube"], "split": split, "family": truth["family"]}
    facts |= {"defect": truth["defect"], "has_defect": has_defect, "z_mm": z_mm}
    return pd.DataFrame(facts, index=range(len(z_mm)))


def _cut(
    images: Iterable[Volume], levels: Iterable[NDArray[np.intp]], grid: Grid
) -> Iterator[NDArray[np.float32]]:
    for image, chosen in zip(images, levels, strict=True):
        assert image.grid == grid
        yield from image.array[chosen]


def scale_of(slices: NDArray[np.float32], rows: NDArray[np.intp], quantile: float) -> float:
    """Return the scale in Bq/mm3: the intensity that networks see as +1.

    It is a quantile of the pixels of the training slices (`rows` of `slices`). If that is 0, it is
    their maximum; if that is 0 too, it is 1.
    """
    scale, highest = _highest(slices, rows, quantile)
    if scale > 0:
        return scale
    if highest > 0:
        log.warning(
            "the %g quantile of the training slices is 0 Bq/mm3: the scale is their maximum, %.4g",
            quantile,
            highest,
        )
        return highest
    log.warning("all training slices are zero (too few coincidences): the scale is 1 Bq/mm3")
    return 1.0


def _highest(
    slices: NDArray[np.float32], rows: NDArray[np.intp], quantile: float
) -> tuple[float, float]:
    """Return quantile and maximum of the pixels, as `np.quantile` and `np.max` do.

    Only pixels above the quantile stay in memory.
    """
    place = (len(rows) * slices[0].size - 1) * quantile  # among the sorted pixels
    num_kept = len(rows) * slices[0].size - int(place)
    kept = np.empty(0, slices.dtype)
    for piece in io.pieces(slices, rows):
        both = np.concatenate([kept, piece.ravel()])
        num_below = max(len(both) - num_kept, 0)
        kept = np.partition(both, num_below)[num_below:]
    kept.sort()
    return float(np.quantile(kept[:2], place - int(place))), float(kept[-1])
