"""Make one stack of windowed and resized CT slices, with its table (stage 04).

There are three steps. `choose` draws the slices, `prepare` windows and resizes a part of them (one
job per part), and `join` joins the parts. Train, val and test share no patient, since neighbouring
slices are almost equal. Stacks are written slice by slice: DeepLesion's does not fit in memory.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.transform import resize

from tubepet import io
from tubepet.ct import deeplesion, dicom
from tubepet.errors import InputError
from tubepet.logs import Bar, log

SPLITS = ("train", "val", "test")


def _quotas(sizes: list[int], total: int) -> list[int]:
    """Divide `total` in proportion to `sizes` (largest remainder); sizes above 0 get at least 1."""
    total = min(total, sum(sizes))
    exact = np.asarray(sizes) * total / max(sum(sizes), 1)
    quotas = np.maximum(np.floor(exact).astype(int), np.minimum(sizes, 1))
    while quotas.sum() != total:
        step = 1 if quotas.sum() < total else -1
        room = quotas < sizes if step > 0 else quotas > 1
        if not room.any():
            break
        quotas[np.argmax(np.where(room, step * (exact - quotas), -np.inf))] += step
    return [int(q) for q in quotas]


def split_patients(
    patients: list[str], split: dict[str, float], rng: np.random.Generator
) -> dict[str, str]:
    """Assign patients to splits at random.

    Parameters
    ----------
    patients : list of str
        Distinct patients.
    split : dict
        Fraction of the patients in "train", "val" and "test"; they add up to 1.
    rng : Generator
        Shuffles the patients.

    Returns
    -------
    dict
        Split of each patient. A split with a positive fraction gets at least one patient. If there
        are too few, train comes first, then val.
    """
    shuffled = [sorted(patients)[i] for i in rng.permutation(len(patients))]
    wanted = [name for name in SPLITS if split[name] > 0][: len(patients)]
    quotas = _quotas([round(1e6 * split[name]) for name in wanted], len(patients))
    labels = np.repeat(wanted, quotas)
    return dict(zip(shuffled, (str(label) for label in labels), strict=True))


def draw_slices(index: pd.DataFrame, num_slices: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw at most `num_slices` rows, evenly over splits and patients.

    Parameters
    ----------
    index : DataFrame
        Columns patient and split (and any others).
    num_slices : int
        Most rows to keep.
    rng : Generator
        Orders patients and slices.

    Returns
    -------
    DataFrame
        The chosen rows in their order in `index`. Each split keeps its share of the rows. Within a
        split patients take turns, so that one long scan does not crowd out the others.
    """
    shuffled = index.iloc[rng.permutation(len(index))]
    turn = shuffled.groupby("patient", sort=False).cumcount()
    in_turn = shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")]
    quotas = _quotas([int((index["split"] == name).sum()) for name in SPLITS], num_slices)
    chosen = [
        in_turn.index[in_turn["split"] == name][:quota]
        for name, quota in zip(SPLITS, quotas, strict=True)
    ]
    return index.loc[np.sort(np.concatenate(chosen))].reset_index(drop=True)


def window_and_resize(
    hu: NDArray[np.int32], window_hu: tuple[float, float], num_pixels: int
) -> NDArray[np.float32]:
    """Clip to the window, pad to a square, resize with anti-aliasing.

    Parameters
    ----------
    hu : int array, shape (H, W)
    window_hu : tuple of float
        Lowest and highest HU. Clipping comes first, so that metal and padding do not bleed into
        tissue.
    num_pixels : int
        Side of the result.

    Returns
    -------
    float32 array, shape (num_pixels, num_pixels)
        HU inside the window.
    """
    low, high = window_hu
    clipped = np.clip(hu, low, high).astype(np.float64)
    missing = max(hu.shape) - np.asarray(hu.shape)
    margins = [(int(m) // 2, int(m) - int(m) // 2) for m in missing]
    square = np.pad(clipped, margins, constant_values=low)
    small = resize(square, (num_pixels, num_pixels), order=1, anti_aliasing=True)
    return np.clip(small, low, high).astype(np.float32)


def _prepared(
    table: pd.DataFrame,
    source_dir: Path,
    file_format: str,
    window_hu: tuple[float, float],
    num_pixels: int,
    ranges_hu: list[tuple[int, int]],
) -> Iterator[NDArray[np.float32]]:
    """Yield the prepared slices, in the order of the table; append their ranges to `ranges_hu`."""
    places = list(zip(table["source_file"], table["frame"], strict=True))
    for name, frame in Bar(places, desc="CT slices", unit="slice"):
        path = source_dir / name
        is_png = file_format == "deeplesion"
        hu = deeplesion.read_hu(path) if is_png else dicom.read_hu(path, int(frame))
        ranges_hu.append((int(hu.min()), int(hu.max())))
        yield window_and_resize(hu, window_hu, num_pixels)


def choose(
    source_dir: str | os.PathLike[str],
    file_format: str,
    num_slices: int,
    drop_noisy: bool,
    split: dict[str, float],
    rng: np.random.Generator,
    patient: str = "id",
    allow_partial: bool = False,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """List the slices of a folder, split the patients and draw the slices.

    Parameters
    ----------
    source_dir : path
        The user's folder, or the stand-in.
    file_format : str
        "deeplesion" or "dicom".
    num_slices : int
        Most slices to keep.
    drop_noisy : bool
        Leave out DeepLesion's rows with Possibly_noisy = 1.
    split : dict
        Fractions of the patients, for data without a split of their own.
    rng : Generator
        Splits the patients and draws the slices.
    patient : str
        What tells DICOM's patients apart, see `tubepet.ct.dicom.index_slices`.
    allow_partial : bool
        Leave out DeepLesion's rows without an image.

    Returns
    -------
    table : DataFrame
        One row per slice: patient, study, series, slice, split, source_file (relative to
        `source_dir`), frame (of its file).
    facts : dict
        Counts, and where the split comes from ("Train_Val_Test" or "seed").

    Raises
    ------
    InputError
        From the readers, or if there is no slice, no patient for train, or none for val.
    """
    source_dir = Path(source_dir)
    index, counts = (
        deeplesion.index_slices(source_dir, drop_noisy, allow_partial)
        if file_format == "deeplesion"
        else dicom.index_slices(source_dir, patient)
    )
    if index.empty:
        raise InputError(
            f"{source_dir}: got no usable slices, all rows are possibly noisy or without images"
        )
    is_seeded = not index["split"].all()
    if is_seeded:
        index["split"] = index["patient"].map(
            split_patients(sorted(index["patient"].unique()), split, rng)
        )
    for name in ("train", "val"):
        if not (index["split"] == name).any():
            raise InputError(
                f"{source_dir}: got {index['patient'].nunique()} patients and none of them in "
                f"{name}, expected at least one in train and one in val (slices of one patient "
                "are never shared between them; ct.patient says what a patient is in DICOM)"
            )
    table = draw_slices(index, num_slices, rng)
    facts = {
        "format": file_format,
        "split_from": "seed" if is_seeded else "Train_Val_Test",
        "num_slices_found": len(index),
        "num_slices": len(table),
        "num_patients": int(table["patient"].nunique()),
        "num_series": int(table[["patient", "study", "series"]].drop_duplicates().shape[0]),
        "num_per_split": {name: int((table["split"] == name).sum()) for name in SPLITS},
        **counts,
    }
    log.info("CT: %d slices found, %d kept (%s)", len(index), len(table), facts["num_per_split"])
    return table, facts


def prepare(
    images_path: str | os.PathLike[str],
    table: pd.DataFrame,
    source_dir: str | os.PathLike[str],
    file_format: str,
    window_hu: tuple[float, float],
    num_pixels: int,
) -> pd.DataFrame:
    """Read, window and resize slices, and write them one by one.

    Parameters
    ----------
    images_path : path
        `.npy` file to write: float32, shape (N, num_pixels, num_pixels), HU inside the window.
    table : DataFrame
        N rows from `choose`, or a part of them.
    source_dir : path
    file_format : str
        "deeplesion" or "dicom".
    window_hu : tuple of float
        Lowest and highest HU.
    num_pixels : int
        Side of a slice.

    Returns
    -------
    DataFrame
        Row i describes image i: the columns of `table`, and hu_min and hu_max before windowing.

    Raises
    ------
    InputError
        From the readers.
    """
    ranges_hu: list[tuple[int, int]] = []
    images = _prepared(table, Path(source_dir), file_format, window_hu, num_pixels, ranges_hu)
    io.write_stack(images_path, images, (len(table), num_pixels, num_pixels))
    low_high = np.array(ranges_hu, np.int32).reshape(-1, 2)
    return table.assign(hu_min=low_high[:, 0], hu_max=low_high[:, 1])


def join(images_path: str | os.PathLike[str], part_paths: Sequence[str]) -> int:
    """Join stacks into one, slice by slice, and return its number of slices."""
    parts = [io.read_array(path) for path in part_paths]
    num = sum(len(part) for part in parts)
    slices = (image for part in parts for image in part)
    io.write_stack(images_path, slices, (num, *parts[0].shape[1:]))
    return num
