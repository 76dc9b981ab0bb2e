"""Fewer training slices, for the learning curve and the detector."""

import numpy as np
import pandas as pd

from tubepet.errors import InputError


def take_slices(table: pd.DataFrame, num_images: int, rng: np.random.Generator) -> pd.DataFrame:
    """Keep some training slices; the others get the split "unused".

    The smaller of two sets of one stream is part of the larger, and each holds slices with a
    defect in the same share as all training slices do.

    Parameters
    ----------
    table : DataFrame
        The rows of the slice dataset: split, has_defect.
    num_images : int
        Training slices to keep.
    rng : numpy.random.Generator

    Raises
    ------
    InputError
        If there are fewer.
    """
    train = table.index[table["split"] == "train"].to_numpy()
    if num_images > len(train):
        raise InputError(
            f"study.num_images: got {num_images}, expected at most {len(train)}, the number of "
            "training slices"
        )
    place = np.empty(len(train))  # of each slice in its own class, from 0 to 1
    has_defect = table.loc[train, "has_defect"].to_numpy(bool)
    for group in (has_defect, ~has_defect):
        place[group] = rng.permutation((np.arange(group.sum()) + 0.5) / max(group.sum(), 1))
    unused = train[np.argsort(place, kind="stable")[num_images:]]
    kept = table.copy()
    kept.loc[unused, "split"] = "unused"
    return kept
