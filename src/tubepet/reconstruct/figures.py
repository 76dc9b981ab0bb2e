"""Figures of stage 03: convergence, images beside the truth, calibration."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tubepet.figure_data import draw_scale
from tubepet.reconstruct.calibration import Calibration
from tubepet.reconstruct.scanner.normalisation import Normalisation
from tubepet.types import Grid, Volume

NUM_SECTIONS = 4
# Places of axes in the pictures of every tube: a computed layout takes twice as long, and computed
# title heights (instead of y=1) a fifth more. In widths and heights of a figure; gaps in axes'.
CURVES_PLACE = {"left": 0.14, "right": 0.98, "bottom": 0.15, "top": 0.9, "wspace": 0.27}
SECTIONS_PLACE = {
    "left": 0.05, "right": 0.91, "bottom": 0.09, "top": 0.87, "wspace": 0.42, "hspace": 0.2,
}  # fmt: skip


def draw_convergence(trace: pd.DataFrame, name: str) -> Figure:
    """Draw log-likelihood and total activity over the iterations.

    Parameters
    ----------
    trace : DataFrame
        iteration, log_likelihood, total_bq (`em.iterate`).
    """
    figure = Figure(figsize=(8, 3.2))
    axes = figure.subplots(1, 2, gridspec_kw=CURVES_PLACE)
    axes[0].plot(trace["iteration"], trace["log_likelihood"], "o-", ms=3)
    axes[0].set(ylabel="log-likelihood", title=name)
    axes[1].plot(trace["iteration"], trace["total_bq"] / 1e3, "o-", ms=3, color="C1")
    axes[1].set(ylabel="activity in the image / kBq")
    axes[1].set_ylim(bottom=0)
    for axis in axes:
        axis.set(xlabel="iteration")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def draw_image(image: Volume, activity: Volume, name: str) -> Figure:
    """Draw cross sections and a long section of an MLEM image beside the true activity.

    Parameters
    ----------
    image, activity : Volume
        Bq/mm3, each on its own grid.
    """
    limit = max(float(activity.array.max()), float(np.quantile(image.array, 0.999)), 1e-9)
    used = np.flatnonzero(activity.array.any(axis=(1, 2)))
    heights_mm = activity.grid.axes_mm()[0][used if len(used) else slice(None)]
    shown_mm = np.quantile(heights_mm, (np.arange(NUM_SECTIONS) + 0.5) / NUM_SECTIONS)
    figure = Figure(figsize=(2.5 * (NUM_SECTIONS + 1), 5.2))
    axes = figure.subplots(2, NUM_SECTIONS + 1, gridspec_kw=SECTIONS_PLACE)
    for row, (volume, kind) in zip(axes, ((activity, "true"), (image, "MLEM")), strict=True):
        grid = volume.grid
        for axis, z_mm in zip(row, shown_mm, strict=False):
            i_z = int(
                np.clip(
                    np.rint((z_mm - grid.origin_mm[0]) / grid.voxel_mm[0]), 0, grid.shape[0] - 1
                )
            )
            picture = _show(axis, volume.array[i_z], grid, 1, limit)
            axis.set_title(f"{kind}, z = {grid.axes_mm()[0][i_z]:.1f} mm", y=1)
        i_y = int(np.clip(np.rint(-grid.origin_mm[1] / grid.voxel_mm[1]), 0, grid.shape[1] - 1))
        _show(row[-1], volume.array[:, i_y], grid, 0, limit)
        row[-1].set_title(f"{kind}, y = {grid.axes_mm()[1][i_y]:.1f} mm", y=1)
        row[0].set(ylabel="y / mm")
        row[-1].set(ylabel="z / mm")
        for axis in row[1:-1]:  # ticks take half of the time
            axis.set_yticks([])
    reach = image.grid
    for column, vertical in zip(axes.T, [1] * NUM_SECTIONS + [0], strict=True):
        for axis in column:
            axis.set(xlim=reach.edges_mm(2), ylim=reach.edges_mm(vertical))
        column[0].set_xticks([])
        column[1].set(xlabel="x / mm")
    draw_scale(figure, picture, "activity / Bq/mm³")
    figure.suptitle(name)
    return figure


def draw_calibration(found: Calibration, distance_mm: NDArray[np.float64]) -> Figure:
    """Draw the measured pair efficiency with its fit, by ring difference and by distance.

    Parameters
    ----------
    found : Calibration
    distance_mm : float64 array, shape (num_columns // 2 + 1,)
        Distance of LORs from the axis by column step (`geometry.axis_distances_mm`).
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    fitted = found.unit_counts * np.outer(found.by_step, found.by_difference)
    for axis, along, place, name in (
        (axes[0], 0, np.arange(len(found.by_difference)), "ring difference"),
        (axes[1], 1, distance_mm, "distance from the axis / mm"),
    ):
        unit, counts = found.unit_counts.sum(axis=along), found.counts.sum(axis=along)
        is_seen = unit > 0
        place, unit, counts = place[is_seen], unit[is_seen], counts[is_seen]
        error = np.sqrt(np.maximum(counts, 1.0)) / unit
        axis.errorbar(place, counts / unit, error, fmt=".", ms=4, lw=0.8, label="source, ± 1 σ")
        axis.plot(place, fitted.sum(axis=along)[is_seen] / unit, label="fit")
        axis.set(xlabel=name, ylabel="pair efficiency")
        axis.set_ylim(0, 1.6 * found.by_difference.max())
    axes[0].legend()
    return figure


def draw_normalisation(found: Normalisation) -> Figure:
    """Draw the efficiencies of crystals, and their counts against those of the fit."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    is_used = found.expected > 0
    axes[0].hist(found.crystals.efficiency[is_used], bins=60)
    axes[0].set(xlabel="efficiency of a crystal", ylabel="crystals", xlim=(0, None))
    counts, expected = found.counts[is_used], found.expected[is_used]
    pulls = (counts - expected) / np.sqrt(expected)
    axes[1].hist(pulls, bins=np.linspace(-5, 5, 51))
    axes[1].set(xlabel="counts of a crystal beyond the fit / σ of Poisson", ylabel="crystals")
    return figure


def _show(axis, plane, grid: Grid, vertical: int, limit: float):  # type: ignore[no-untyped-def]
    extent = (*grid.edges_mm(2), *grid.edges_mm(vertical))
    return axis.imshow(plane, origin="lower", extent=extent, cmap="magma", vmin=0, vmax=limit)
