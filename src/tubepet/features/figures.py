"""Figures of the features: scree plot, eigen-images, PCANet filters (stage 06)."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tubepet.features.pca import Pca

Array = NDArray[np.float64]


def draw_scree(pca: Pca, num_slices: int) -> Figure:
    """Draw the share of variance of each component, and the cumulative sum."""
    shares = 100 * pca.ratio[pca.ratio > 0]
    kept = min(len(pca.components), len(shares))
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    number = np.arange(1, len(shares) + 1)
    if len(shares):
        axes.set_yscale("log")
    else:
        axes.text(0.5, 0.5, "all training slices are equal", transform=axes.transAxes, ha="center")
    axes.plot(number, shares, ".-", lw=1, label="each component (left axis)")
    axes.axvline(kept + 0.5, color="0.5", ls="--", lw=1, label=f"kept: {kept}")
    axes.set(xlabel="component", ylabel="share of variance (%)")
    axes.grid(alpha=0.3, which="both")
    total = axes.twinx()
    total.plot(number, np.cumsum(shares), color="C1", label="sum (right axis)")
    total.set(ylabel="sum of shares (%)", ylim=(0, 102))
    lines = [*axes.get_legend_handles_labels()[0], *total.get_legend_handles_labels()[0]]
    axes.legend(handles=lines, loc="center right")
    explained = 100 * pca.ratio[:kept].sum()
    axes.set_title(f"PCA of {num_slices} training slices: {kept} components, {explained:.1f} %")
    return figure


def draw_eigen_images(
    pca: Pca, image_size: int, pixel_mm: float, scale_bq_mm3: float, num_shown: int
) -> Figure:
    """Draw the mean slice in Bq/mm3 and the leading components, each as one standard deviation."""
    num_shown = min(num_shown, len(pca.components))
    columns = 6
    num_rows = -(-(num_shown + 1) // columns)
    figure = Figure(figsize=(1.9 * columns, 1.95 * num_rows + 0.9), layout="compressed")
    axes = figure.subplots(num_rows, columns, squeeze=False)
    half_mm = image_size * pixel_mm / 2
    place = {"extent": (-half_mm, half_mm, half_mm, -half_mm)}
    mean = (scale_bq_mm3 * pca.mean).reshape(image_size, image_size)
    top = mean.max() or 1.0  # an image without a count is black
    shown = axes.flat[0].imshow(mean, cmap="inferno", vmin=0, vmax=top, **place)
    axes.flat[0].set_title("mean slice", fontsize=9)
    figure.colorbar(shown, ax=axes, location="left", label="mean (Bq/mm³)", shrink=0.8, pad=0.01)
    one_sigma = scale_bq_mm3 * pca.components * np.sqrt(pca.variance)[:, None]
    limit = np.abs(one_sigma[:num_shown]).max() or 1.0
    for i in range(num_shown):
        cell = axes.flat[i + 1]
        image = one_sigma[i].reshape(image_size, image_size)
        shown = cell.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit, **place)
        cell.set_title(f"{i + 1}: {100 * pca.ratio[i]:.1f} %", fontsize=9)
    for cell in axes.flat:
        cell.tick_params(labelsize=7)
    for cell in axes.flat[num_shown + 1 :]:
        cell.set_axis_off()
    for cell in axes[:, 1:].flat:
        cell.set_yticks([])
    for cell in axes[:-1].flat:
        cell.set_xticks([])
    axes[0, 0].set_ylabel("y (mm)", fontsize=8)
    axes[-1, 0].set_xlabel("x (mm)", fontsize=8)
    figure.colorbar(shown, ax=axes, label="one standard deviation (Bq/mm³)", shrink=0.8, pad=0.01)
    figure.suptitle("Mean and eigen-images of the training slices (share of variance)")
    return figure


def draw_filters(first: Array, second: Array) -> Figure:
    """Draw the PCANet filters of both stages."""
    num = len(first)
    figure = Figure(figsize=(1.3 * num + 2.2, 3.8), layout="compressed")
    axes = figure.subplots(2, num, squeeze=False)
    limit = max(np.abs(first).max(), np.abs(second).max())
    for line, filters, stage in zip(axes, (first, second), (1, 2), strict=True):
        for i, (cell, image) in enumerate(zip(line, filters, strict=True)):
            shown = cell.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
            cell.set(xticks=[], yticks=[])
            cell.set_title(f"filter {i + 1}", fontsize=9)
        line[0].set_ylabel(f"stage {stage}")
    figure.colorbar(shown, ax=axes, label="weight (1)", shrink=0.9)
    side = first.shape[-1]
    figure.suptitle(f"PCANet filters, {side} x {side} pixels")
    return figure
