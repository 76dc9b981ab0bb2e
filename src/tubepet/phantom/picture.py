"""One figure per tube: two cross sections and a long section, in mm."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from tubepet.figure_data import draw_scale
from tubepet.types import Grid, Volume

OUTLINES = {0.5: "white", 1.5: "deepskyblue"}  # of the object; of its wall
# Places of the axes; matplotlib's layout would double the time
PLACE = {"left": 0.05, "right": 0.91, "bottom": 0.12, "top": 0.87, "wspace": 0.17}


def draw_tube(labels: Volume, activity: Volume, facts: dict[str, Any]) -> Figure:
    """Draw activity with the outlines of the materials and the box of the defect.

    Parameters
    ----------
    labels, activity : Volume
        Labels (0 air, 1 fluid, others the wall) and activity in Bq/mm3, one grid.
    facts : dict
        The tube's truth.

    Returns
    -------
    Figure
    """
    grid = labels.grid
    z, y, _ = grid.axes_mm()
    box = facts["defects"][0]["box_mm"] if facts["defects"] else None
    at_z_mm = float(np.mean(box[2])) if box else facts["length_mm"] / 4
    away_z_mm = -at_z_mm if abs(at_z_mm) > facts["length_mm"] / 8 else facts["length_mm"] / 3
    at_y_mm = float(np.mean(box[1])) if box else 0.0
    figure = Figure(figsize=(12, 4.2))
    axes = figure.subplots(1, 3, gridspec_kw=PLACE)
    limit = max(float(activity.array.max()), 1e-12)
    sections = [("z", z, away_z_mm), ("z", z, at_z_mm), ("y", y, at_y_mm)]
    for axis, (normal, places, place_mm) in zip(axes, sections, strict=True):
        i = int(np.argmin(np.abs(places - place_mm)))
        planes = [v.array[i] if normal == "z" else v.array[:, i] for v in (activity, labels)]
        shown = _draw_section(axis, planes[0], planes[1], grid, normal, limit)
        if box and _crosses(box["xyz".index(normal)], places[i], grid.voxel_mm[0]):
            axis.add_patch(_rectangle(box[0], box[1 if normal == "z" else 2]))
        axis.set_title(f"{normal} = {places[i]:.1f} mm", y=1)
    draw_scale(figure, shown, "activity / Bq/mm³")
    figure.suptitle(f"{facts['tube']}: {facts['family']}, defect: {facts['defect']}")
    return figure


def _draw_section(
    axis: Axes,
    activity: NDArray[Any],
    labels: NDArray[Any],
    grid: Grid,
    normal: str,
    limit: float,
) -> Any:
    i_up = 1 if normal == "z" else 0
    centres = grid.axes_mm()
    across, up = centres[2], centres[i_up]
    extent = (*grid.edges_mm(2), *grid.edges_mm(i_up))
    shown = axis.imshow(activity, origin="lower", extent=extent, cmap="magma", vmin=0, vmax=limit)
    for level, colour in OUTLINES.items():
        axis.contour(across, up, labels, levels=[level], colors=colour, linewidths=1)
    axis.set(xlabel="x / mm", ylabel=f"{'y' if normal == 'z' else 'z'} / mm", aspect="equal")
    return shown


def _crosses(span_mm: list[float], place_mm: float, thickness_mm: float) -> bool:
    return span_mm[0] <= place_mm + thickness_mm / 2 and span_mm[1] >= place_mm - thickness_mm / 2


def _rectangle(x_mm: list[float], up_mm: list[float]) -> Rectangle:
    return Rectangle(
        (x_mm[0], up_mm[0]), x_mm[1] - x_mm[0], up_mm[1] - up_mm[0],
        fill=False, edgecolor="lime", linestyle="--",
    )  # fmt: skip
