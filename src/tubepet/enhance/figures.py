"""Test slices by every method, beside the short and the long image."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tubepet.enhance.pairs import Pairs
from tubepet.enhance.quality import DATA_RANGE

NUM_ROWS = 4


def draw_methods(
    images: Mapping[str, NDArray[np.float32]], test: Pairs, scale_bq_mm3: float
) -> Figure:
    """Draw slices of different tubes; one column per method, the long image last."""
    _, first = np.unique(test.tubes, return_index=True)
    tubes = test.tubes[np.sort(first)][:NUM_ROWS]
    rows = [int(np.flatnonzero(test.tubes == tube)[len(test.tubes[test.tubes == tube]) // 2])
            for tube in tubes]  # the middle of each tube  # fmt: skip
    columns = {**images, "long": test.long}
    figure = Figure(figsize=(1.7 * len(columns) + 1, 1.8 * len(rows) + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        for axis, (name, stack) in zip(line, columns.items(), strict=True):
            top = 1.2 * DATA_RANGE * scale_bq_mm3
            shown = axis.imshow(stack[row] * scale_bq_mm3, cmap="gray", vmin=0, vmax=top)
            axis.set_xticks([])
            axis.set_yticks([])
            if row == rows[0]:
                axis.set_title(name.replace("_", " "), fontsize=8)
        line[0].set_ylabel(test.tubes[row], fontsize=8)
    figure.colorbar(shown, ax=axes.ravel().tolist(), label="Bq/mm³", shrink=0.7)
    return figure
