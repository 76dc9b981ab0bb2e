"""Draw one part in one figure: drawing, images and indications."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import nn

from tubepet.dataset.slices import Slices
from tubepet.enhance import quality
from tubepet.enhance.pairs import Pairs
from tubepet.report.viewer import LEAST_Z, MARGIN_MM, brightest
from tubepet.types import Grid, Volume

LABEL_COLOURS = ListedColormap(["#f7f7f7", "#4393c3", "#878787"])  # air, fluid, wall
PLANES = {"xy": 0, "xz": 1}  # cuts, with the index in (z, y, x) of the perpendicular axis
AXES = "zyx"


@dataclass(frozen=True)
class Followed:
    """A part: drawing, images, truth, and result of the inspection.

    Attributes
    ----------
    labels : Volume of uint8
        The part without the defect: 0 air, 1 fluid, others the wall.
    images : dict of Volume, Bq/mm3
        short, enhanced, long; see `images_of`.
    score_map : Volume
        z of the likeliest defect.
    defect : uint8 array
        1 where the defect changes the material, on the grid of the images.
    truth, found : mapping
        `truth.json` and `verdict.json`.
    """

    labels: Volume
    images: dict[str, Volume]
    score_map: Volume
    defect: NDArray[np.uint8]
    truth: Mapping[str, Any]
    found: Mapping[str, Any]


def images_of(tube: str, network: nn.Module, short: Slices, long: Slices) -> dict[str, Volume]:
    """Return the short, the enhanced and the long image of a tube of the data set, in Bq/mm3.

    Parameters
    ----------
    tube : str
    network : Module
        Makes enhanced slices of short ones.
    short, long : Slices
        Row by row the same, with one scale.
    """
    rows, scale = short.tubes[tube], np.float32(short.scale_bq_mm3)
    pairs = Pairs(short.images[rows] / scale, long.images[rows] / scale, short.tube[rows])
    images = {
        "short": pairs.short, "enhanced": quality.rescaled(network, pairs), "long": pairs.long
    }  # fmt: skip
    steps_mm = short.slice_mm, short.pixel_mm, short.pixel_mm
    centred = Grid.centred(pairs.short.shape, steps_mm)
    grid = replace(centred, origin_mm=(float(short.volume(tube)[1][0]), *centred.origin_mm[1:]))
    return {name: Volume(image * scale, grid) for name, image in images.items()}


def place_mm(part: Followed) -> tuple[float, float, float]:
    """Return the position of the cuts, (z, y, x) in mm, that meet most voxels of the defect.

    If the defect is in no slice, they go through the middle of its box; without a defect, through
    the middle of the part.
    """
    axes = part.images["long"].grid.axes_mm()
    if part.defect.any():
        areas = [part.defect.sum(axis=others) for others in ((1, 2), (0, 2), (0, 1))]
        z, y, x = (float(axis[np.argmax(a)]) for axis, a in zip(axes, areas, strict=True))
        return z, y, x
    boxes = [d["box_mm"] for d in part.truth["defects"]] or [_bounds_mm(part.labels)[::-1]]
    x, y, z = ((low + high) / 2 for low, high in boxes[0])
    return z, y, x


def _bounds_mm(labels: Volume) -> list[tuple[float, float]]:
    """Return the first and last position of a part along z, y and x."""
    places = np.argwhere(labels.array > 0)
    return [
        (float(axis[first] - step / 2), float(axis[last] + step / 2))
        for axis, step, first, last in zip(
            labels.grid.axes_mm(), labels.grid.voxel_mm, places.min(0), places.max(0), strict=True
        )
    ]


def draw_follow(part: Followed, short_s: float, long_s: float) -> Figure:
    """Draw drawing, images and map of z in two cuts; the box of the defect is outlined."""
    middle = dict(zip(AXES, place_mm(part), strict=True))
    top = brightest(part.images["long"])
    top_z = max(LEAST_Z, float(part.score_map.array.max()))
    names = {"short": f"short: {short_s:g} s", "enhanced": "enhanced: short, by network"}
    names["long"] = f"long: {long_s:g} s"
    columns = [
        ("drawing", part.labels, {"cmap": LABEL_COLOURS, "vmin": -0.5, "vmax": 2.5}),
        *((title, part.images[name], {"cmap": "gray", "vmin": 0, "vmax": top})
          for name, title in names.items()),
        ("indications", part.score_map, {"cmap": "magma", "vmin": 0, "vmax": top_z}),
    ]  # fmt: skip
    figure = Figure(figsize=(2.6 * len(columns), 5.9), layout="constrained")
    axes = figure.subplots(3, len(columns), height_ratios=[1, 1, 0.05])
    for column, (title, volume, style) in zip(axes.T, columns, strict=True):
        column[0].set_title(title, fontsize=10)
        for axis, plane in zip(column[:2], PLANES, strict=True):
            shown = _draw_cut(axis, volume, plane, middle, style)
            axis.set_label(f"{title}, {plane}")
            _frame(axis, part, plane)
            if title == "indications":
                _draw_crosses(axis, part, plane)
        _colour_bar(figure, column[2], shown, title)
    for axis, (plane, normal) in zip(axes[:2, 0], PLANES.items(), strict=True):
        name = AXES[normal]
        axis.set_ylabel(f"{plane} cut at {name} = {middle[name]:.1f} mm\n{plane[1]} / mm")
    return figure


def _frame(axis: Axes, part: Followed, plane: str) -> None:
    """Crop a panel to the part, and outline the boxes of its defects."""
    sides = dict(zip(AXES, _bounds_mm(part.labels), strict=True))
    (left, right), (low, high) = (sides[name] for name in plane)
    axis.set(xlim=(left - MARGIN_MM, right + MARGIN_MM), ylim=(low - MARGIN_MM, high + MARGIN_MM))
    axis.set_xlabel(f"{plane[0]} / mm")
    for defect in part.truth["defects"]:
        box = dict(zip("xyz", defect["box_mm"], strict=True))
        (x, end), (y, top) = (box[name] for name in plane)
        axis.add_patch(Rectangle((x, y), end - x, top - y, fill=False, ec="red", lw=1.5))


def _draw_cut(
    axis: Axes, volume: Volume, plane: str, middle: Mapping[str, float], style: dict[str, Any]
) -> AxesImage:
    """Draw one cut through a volume."""
    normal = PLANES[plane]
    along = volume.grid.axes_mm()[normal]
    shown = np.take(volume.array, int(np.abs(along - middle[AXES[normal]]).argmin()), normal)
    if style["cmap"] is LABEL_COLOURS:
        shown = np.minimum(shown, 2)  # further materials of an own part are walls too
    axis.set(aspect="equal", facecolor="0.85")
    return axis.imshow(
        shown, origin="lower", interpolation="nearest", **style,
        extent=(*volume.grid.edges_mm(2), *volume.grid.edges_mm(1 - normal)),
    )  # fmt: skip


def _draw_crosses(axis: Axes, part: Followed, plane: str) -> None:
    for one in part.found["indications"]:
        place = [one[f"{name}_mm"] for name in plane]
        axis.plot(*place, "x", color="lime", ms=9, mew=2)


def _colour_bar(figure: Figure, place: Axes, shown: AxesImage, title: str) -> None:
    if title == "drawing":
        bar = figure.colorbar(shown, cax=place, orientation="horizontal", ticks=[0, 1, 2])
        bar.ax.set_xticklabels(["air", "fluid", "wall"])
        return
    label = "z of the likeliest defect" if title == "indications" else "Bq/mm³"
    figure.colorbar(shown, cax=place, label=label, orientation="horizontal")


def facts(part: Followed) -> dict[str, Any]:
    """Return the facts of the part for the report: cuts, true defects, and the verdict."""
    z_mm, y_mm, _ = place_mm(part)
    keys = ("verdict", "largest_z", "threshold_z", "p_value", "indications")
    return {
        "tube": part.truth["tube"],
        "family": part.truth["family"],
        "defects": part.truth["defects"],
        "cuts_mm": {"z": z_mm, "y": y_mm},
        **{key: part.found[key] for key in keys},
    }
