"""Slices of all tubes as one dataset, split by tube (never by slice)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.types import Volume

SPLITS = ("train", "val", "test")


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
    images: Sequence[Volume],
    truths: Sequence[dict[str, Any]],
    shares: Mapping[str, float],
    margin_mm: float,
    scale_quantile: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], pd.DataFrame, dict[str, Any]]:
    """Cut the images of all tubes into slices.

    Parameters
    ----------
    images : sequence of Volume
        Bq/mm3, all on one grid.
    truths : sequence of dict
        ``truth.json`` of the same tubes; tubes are centred on z = 0.
    shares : mapping
        See `split_tubes`.
    margin_mm : float
        A slice counts if its centre is at least this far inside the tube's ends.
    scale_quantile : float
        Quantile of the pixels of the training slices that becomes the scale.

    Returns
    -------
    float32 array, shape (num_slices, ny, nx)
        Bq/mm3.
    DataFrame
        One row per slice: i_slice, tube, split, family, defect, has_defect, z_mm.
    dict
        unit, pixel_mm, slice_mm, scale_bq_mm3, num_slices and num_tubes per split.

    Raises
    ------
    InputError
        If a split has tubes but no slice.
    """
    grid = images[0].grid
    z_mm, slice_mm = grid.axes_mm()[0], grid.voxel_mm[0]
    split = split_tubes([truth["tube"] for truth in truths], shares, rng)
    slices: list[NDArray[np.float32]] = []
    rows: list[dict[str, Any]] = []
    for image, truth in zip(images, truths, strict=True):
        assert image.grid == grid
        for i_z in np.flatnonzero(np.abs(z_mm) <= truth["length_mm"] / 2 - margin_mm):
            z = float(z_mm[i_z])
            boxes_mm = [defect["box_mm"][2] for defect in truth["defects"]]
            slices.append(image.array[i_z])
            rows.append(
                {
                    "i_slice": len(rows),
                    "tube": truth["tube"],
                    "split": split[truth["tube"]],
                    "family": truth["family"],
                    "defect": truth["defect"],
                    "has_defect": any(
                        low < z + slice_mm / 2 and high > z - slice_mm / 2 for low, high in boxes_mm
                    ),
                    "z_mm": z,
                }
            )
    columns = ["i_slice", "tube", "split", "family", "defect", "has_defect", "z_mm"]
    table = pd.DataFrame(rows, columns=columns)
    num_tubes = {name: list(split.values()).count(name) for name in SPLITS}
    num_slices = {name: int((table["split"] == name).sum()) for name in SPLITS}
    for name in SPLITS:
        if num_tubes[name] > 0 and num_slices[name] == 0:
            raise InputError(
                f"reconstruct.slice_margin_mm: got {margin_mm:g} mm, which leaves no {name} slice, "
                "expected less than half the tubes' length"
            )
    data = np.stack(slices).astype(np.float32)
    scale = scale_of(data[(table["split"] == "train").to_numpy()], scale_quantile)
    log.info("%d tubes in, slices out: %s, scale %.4g Bq/mm3", len(images), num_slices, scale)
    return (
        data,
        table,
        {
            "unit": "Bq/mm3",
            "pixel_mm": grid.voxel_mm[2],
            "slice_mm": slice_mm,
            "scale_bq_mm3": scale,
            "num_slices": num_slices,
            "num_tubes": num_tubes,
        },
    )


def scale_of(train: NDArray[np.float32], quantile: float) -> float:
    """Intensity (Bq/mm3) that becomes +1 for the networks, from training slices."""
    scale = float(np.quantile(train, quantile))
    if scale > 0:
        return scale
    highest = float(train.max())
    if highest > 0:
        log.warning(
            "the %g quantile of the training slices is 0 Bq/mm3: the scale is their maximum, %.4g",
            quantile,
            highest,
        )
        return highest
    log.warning("all training slices are zero (too few coincidences): the scale is 1 Bq/mm3")
    return 1.0
