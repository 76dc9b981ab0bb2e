"""Figures of a training: a grid of samples, and curves of what was logged."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray


def draw_grid(images: NDArray[np.float32], top_bq_mm3: float, title: str) -> Figure:
    """Draw images (n, H, W) in Bq/mm3 in rows of eight, all on the grey scale 0 .. top_bq_mm3."""
    num_columns = min(8, len(images))
    num_rows = -(-len(images) // num_columns)
    figure = Figure(figsize=(num_columns + 1.2, num_rows + 0.5), layout="constrained")
    axes = np.atleast_1d(figure.subplots(num_rows, num_columns)).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, image in zip(axes, images, strict=False):
        shown = axis.imshow(image, cmap="gray", vmin=0, vmax=top_bq_mm3)
    figure.colorbar(shown, ax=axes.tolist(), label="Bq/mm³", shrink=0.8)
    figure.suptitle(title)
    return figure


def draw_curves(curves: pd.DataFrame, name: str) -> Figure:
    """Draw every logged quantity against the generator step."""
    columns = [column for column in curves.columns if column != "step"]
    num_rows = -(-len(columns) // 2)
    figure = Figure(figsize=(9, 2.2 * num_rows), layout="constrained")
    axes = np.atleast_1d(figure.subplots(num_rows, 2)).ravel()
    for axis in axes[len(columns) :]:
        axis.set_axis_off()
    for axis, column in zip(axes, columns, strict=False):
        axis.plot(curves["step"], curves[column], linewidth=0.7)
        axis.set_xlabel("generator step")
        axis.set_ylabel(column.replace("_", " "))
    figure.suptitle(name)
    return figure
