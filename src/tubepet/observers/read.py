"""Read the volumes of many batches as one array; training needs no code of the simulation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import io

Volumes = NDArray[np.float32]

CHANNELS = ("image", "drawing", "change", "fluid")


def read_parts(
    volumes: Sequence[str], tables: Sequence[str], roles: Sequence[str]
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """Read the batches of some roles, in the order given; returns as `volumes.observe_parts`."""
    both = [(io.read_table(table), path) for table, path in zip(tables, volumes, strict=True)]
    chosen = [(table, path) for table, path in both if table["role"].iloc[0] in roles]
    arrays = [np.asarray(io.read_array(path)) for _, path in chosen]
    return np.concatenate(arrays), pd.concat([table for table, _ in chosen], ignore_index=True)
