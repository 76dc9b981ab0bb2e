"""Figures of enhanced images: slices of every method, and the rows of `one_to_one`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from tubepet.enhance.one_to_one import Row
from tubepet.enhance.pairs import Pairs
from tubepet.enhance.quality import DATA_RANGE
from tubepet.evaluate import similarity

NUM_ROWS = 4
LEAST_Z = 5.0  # least end of the colour scale; z of 3 is common by chance
MARGIN_MM = 2.0  # around the largest part
BRIGHTEST = 1.3  # end of the grey scale over the activity as drawn; brighter voxels are noise


def draw_methods(
    images: Mapping[str, NDArray[np.float32]], test: Pairs, scale_bq_mm3: float
) -> Figure:
    """Draw the middle slices of some tubes: one column per method, the long image last."""
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


def draw_one_to_one(rows: Sequence[Row], short_s: float, long_s: float) -> Figure:
    """Draw a line per row: drawing, three images, and the map of z with indications.

    Parameters
    ----------
    rows : sequence of Row
        From `one_to_one.rows`.
    short_s, long_s : float
        Durations of the acquisitions.
    """
    top_bq_mm3 = BRIGHTEST * max(float(row.drawn_bq_mm3.max()) for row in rows)
    half_mm = MARGIN_MM + max(map(_reach_mm, rows))
    sides_mm = (-half_mm, half_mm)
    shown_z = [LEAST_Z, *(float(row.inspected.z.max()) for row in rows)]
    names = {
        "short": f"short: {short_s:g} s", "enhanced": "enhanced: short, by network",
        "long": f"long: {long_s:g} s",
    }  # fmt: skip
    heights = [*[1.0] * len(rows), 0.05]  # the last line has the colour bars
    figure = Figure(figsize=(12.4, 2.95 * len(rows) + 0.9), layout="constrained")
    axes = figure.subplots(len(rows) + 1, 5, squeeze=False, height_ratios=heights)
    titles = ["drawing, true defect in red", *names.values(), "indications"]
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=10)
    maps: list[AxesImage] = []
    for line, row in zip(axes[:-1], rows, strict=True):
        line[0].set_ylabel(row.words, rotation=0, ha="right", va="center", fontsize=9)
        shown = _draw_slice(line[0], row, row.drawn_bq_mm3, top_bq_mm3)
        _outline(line[0], row, row.wall + row.drawn_bq_mm3 / row.drawn_bq_mm3.max(), "0.6")
        _outline(line[0], row, row.defect, "red")
        for axis, name in zip(line[1:4], names, strict=True):
            _draw_slice(axis, row, row.images_bq_mm3[name], top_bq_mm3)
            axis.set_xlabel(_quality(row, name), fontsize=9)
        maps += _draw_indications(line[4], row, max(shown_z))
        for axis in line:
            axis.set(xticks=[], yticks=[], aspect="equal", xlim=sides_mm, ylim=sides_mm)
    bars = axes[-1]
    figure.colorbar(shown, cax=bars[2], label="Bq/mm³", orientation="horizontal", extend="max")
    if maps:
        label = "z of the likeliest defect"
        figure.colorbar(maps[0], cax=bars[4], label=label, orientation="horizontal")
    for bar in (bars[0], bars[1], bars[3], *([] if maps else [bars[4]])):
        bar.axis("off")
    return figure


def _reach_mm(row: Row) -> float:
    """Return half the side of the square around the axis that holds the part."""
    across = np.argwhere(row.wall + row.drawn_bq_mm3 > 0) + 0.5 - len(row.wall) / 2
    return float(np.abs(across).max()) * row.pixel_mm


def _extent(row: Row) -> tuple[float, float, float, float]:
    up, across = (n * row.pixel_mm / 2 for n in row.wall.shape)
    return -across, across, -up, up


def _draw_slice(axis: Axes, row: Row, image: NDArray[Any], top_bq_mm3: float) -> AxesImage:
    return axis.imshow(
        image, cmap="gray", origin="lower", vmin=0, vmax=top_bq_mm3, extent=_extent(row)
    )


def _outline(axis: Axes, row: Row, image: NDArray[Any], colour: str) -> None:
    if image.max() > 0.5:
        axis.contour(
            image, levels=[0.5], colors=colour, linewidths=1.1, extent=_extent(row), origin="lower"
        )


def _quality(row: Row, name: str) -> str:
    if name not in row.quality:
        scales = similarity.num_scales(row.wall.shape[-1])
        return f"reference of the numbers\n(MS-SSIM on {scales} scales)"
    found = row.quality[name]
    return f"PSNR {found['psnr']:.1f} dB\nSSIM {found['ssim']:.3f}, MS-SSIM {found['ms_ssim']:.3f}"


def _draw_indications(axis: Axes, row: Row, top_z: float) -> list[AxesImage]:
    shown = axis.imshow(
        row.inspected.z, cmap="magma", origin="lower", vmin=0, vmax=top_z, extent=_extent(row)
    )
    _outline(axis, row, row.drawn_bq_mm3 / row.drawn_bq_mm3.max(), "0.8")
    for x_mm, y_mm in row.inspected.crosses_mm:
        axis.plot(x_mm, y_mm, "x", color="lime", ms=9, mew=2)
    axis.set_xlabel(row.inspected.words, fontsize=9)
    return [shown]
