"""Pictures for inspectors: the map of one part, and the verdicts of all."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tubepet.errors import shown
from tubepet.figure_data import draw_scale
from tubepet.inspect.part import Part, onto_image
from tubepet.inspect.verdict import DEFECT, Inspection
from tubepet.types import Grid, Volume

CLASS_COLOURS = {
    "none": "0.5", "pit": "C0", "groove": "C1", "crack": "C2", "thinning": "C3", "inclusion": "C4",
    "bubble": "C5",
}  # fmt: skip
NAME_LENGTH = 40  # in the title, which must have room for the verdict
# Places of axes: a computed layout takes twice as long
PLACE = {"left": 0.05, "right": 0.91, "bottom": 0.12, "top": 0.87, "wspace": 0.2}


def draw_verdict(inspection: Inspection, score_map: Volume, part: Part, name: str) -> Figure:
    """Draw three sections of the map of z through the first indication, or the largest z.

    Outlines show fluid and wall as drawn; crosses are indications.
    """
    grid = score_map.grid
    fluid, solid = part.on_image(grid), onto_image(part.wall, grid)
    largest = np.unravel_index(int(np.argmax(score_map.array)), grid.shape)
    middle = tuple(int(i) for i in largest)
    if inspection.indications:
        first = inspection.indications[0]
        middle = tuple(
            int(np.argmin(np.abs(axis - at)))
            for axis, at in zip(grid.axes_mm(), (first.z_mm, first.y_mm, first.x_mm), strict=True)
        )
    limit = max(inspection.largest_z, 5.0)
    figure = Figure(figsize=(12.5, 4.4))
    axes = figure.subplots(1, 3, gridspec_kw=PLACE)
    for axis, normal in zip(axes, (0, 1, 2), strict=True):
        image = axis.imshow(
            np.take(score_map.array, middle[normal], normal), origin="lower", cmap="magma",
            vmin=0, vmax=limit, extent=_extent(grid, normal),
        )  # fmt: skip
        for volume, colour in ((fluid, "deepskyblue"), (fluid + solid, "white")):
            section = np.take(volume, middle[normal], normal)
            up, across = (a for i, a in enumerate(grid.axes_mm()) if i != normal)
            if section.max() > 0.5:
                axis.contour(across, up, section, levels=[0.5], colors=colour, linewidths=1)
        names = [label for i, label in enumerate("zyx") if i != normal]
        for one in inspection.indications:
            place = [getattr(one, f"{label}_mm") for label in names]
            axis.plot(place[1], place[0], "x", color="lime", ms=9, mew=2)
        place_mm = grid.axes_mm()[normal][middle[normal]]
        axis.set(
            xlabel=f"{names[1]} / mm", ylabel=f"{names[0]} / mm", aspect="equal",
        )  # fmt: skip
        axis.set_title(f"{'zyx'[normal]} = {place_mm:.1f} mm", y=1)
    draw_scale(figure, image, "z of the likeliest defect")
    called = shown(name)[:NAME_LENGTH].replace("$", r"\$")  # it begins no formula
    title = f"{called}: {inspection.verdict} ({inspection.reason})"
    figure.suptitle(title, y=0.995, wrap=True)
    return figure


def _extent(grid: Grid, normal: int) -> tuple[float, float, float, float]:
    up, across = (axis for axis in range(3) if axis != normal)
    return *grid.edges_mm(across), *grid.edges_mm(up)


def draw_verdicts(table: pd.DataFrame) -> Figure:
    """Draw the largest z of every part over the size of its defect.

    Parameters
    ----------
    table : DataFrame
        `judge.judged`.
    """
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axis = figure.subplots()
    for defect, rows in table.groupby("defect", sort=False):
        sizes = _sizes(rows)
        colour = CLASS_COLOURS.get(str(defect), "k")
        called = (rows["verdict"] == DEFECT).to_numpy()
        label = f"{defect}: {called.sum()} of {len(rows)} called"
        axis.plot(sizes[called], rows["largest_z"][called], "o", color=colour, label=label)
        axis.plot(sizes[~called], rows["largest_z"][~called], "o", mfc="none", color=colour)
    limit = table["threshold_z"].astype(float).median()
    if np.isfinite(limit):
        axis.axhline(limit, color="k", lw=0.8, ls="--")
    axis.set(xlabel="size of the defect / mm (0: none)", ylabel="largest z in the part")
    axis.legend(fontsize=8)
    return figure


def _sizes(rows: pd.DataFrame) -> NDArray[np.float64]:
    return rows["defect_mm"].fillna(0.0).to_numpy(np.float64)
