"""Choose fewer training slices, for the study's learning curve and its defect detector."""

import numpy as np
import pandas as pd

from tubepet.errors import InputError


def take_slices(table: pd.DataFrame, num_images: int, rng: np.random.Generator) -> pd.DataFrame:
    """Keep some training slices; return the table in which the others have the split "unused".

    The share of slices with a defect stays that of all training slices. With equal random numbers
    a smaller set is part of a larger one.

    Parameters
    ----------
    table : DataFrame
        The rows of the data set: split, has_defect.
    num_images : int
        Training slices to keep.
    rng : numpy.random.Generator

    Raises
    ------
    InputError
        If there are fewer training slices.
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
