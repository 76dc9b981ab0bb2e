"""The numbers behind a figure, stored inside its PNG in a private chunk.

A picture that is sent on alone keeps its data. The report offers them as CSV, and `of_png` reads
them. Image programs skip chunks that they do not know (PNG specification, 14.2).
"""

import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.patches import StepPatch
from numpy.typing import NDArray

CHUNK = b"csVz"  # lower, lower, upper, lower case: ancillary, private, -, safe to copy
MAX_VALUES = 400_000  # pixels of all images; more would make the report too heavy
SCALE = "<colorbar>"  # matplotlib's own label of such axes
SCALE_PLACE = (0.935, 0.15, 0.014, 0.7)  # fixed: matplotlib's layout doubles the time
COLUMNS = ("panel", "name", "x", "y", "value", "low", "high")


def of_figure(figure: Any) -> pd.DataFrame:
    """Return what a matplotlib figure shows.

    Returns
    -------
    DataFrame
        One row per point or pixel. panel: number and title; name: label or kind of the curve; x,
        y: its place (a step reaches to the next x; the last row ends it); low, high: ends of error
        bars (along x if name ends in "x error"); value: of a pixel. Unused columns are left out.
    """
    parts = []
    panels = [axes for axes in figure.axes if axes.get_label() != SCALE]
    pixels = sum(image.get_array().size for axes in panels for image in axes.get_images())
    for number, axes in enumerate(panels, start=1):
        title = axes.get_label() or axes.get_title() or axes.get_ylabel()
        drawn = [*_curves(axes), *(_images(axes) if pixels <= MAX_VALUES else ())]
        for table in drawn:
            table.insert(0, "panel", f"{number} {title}".replace("\n", " ").strip())
            parts.append(table)
    if not parts:
        return pd.DataFrame(columns=["panel", "name"])
    whole = pd.concat(parts, ignore_index=True)
    return whole[[column for column in COLUMNS if column in whole]]


def draw_scale(figure: Any, picture: Any, label: str) -> None:
    """Draw the colour bar of a picture at the right of a figure."""
    figure.colorbar(picture, cax=figure.add_axes(SCALE_PLACE, label=SCALE), label=label)


def _named(artist: Any, kind: str, values: dict[str, Any]) -> pd.DataFrame:
    label = str(artist.get_label())
    return pd.DataFrame({"name": kind if label.startswith("_") else label} | values)


def _ends(container: Any) -> dict[str, NDArray[np.float64]]:
    """Lower and upper ends of error bars, along y if there are such, else along x."""
    # (n, 2 ends, x and y); get_segments would leave out undefined bars
    segments = np.array([path.vertices for path in container.lines[2][-1].get_paths()])
    low, high = segments[:, :, 1 if container.has_yerr else 0].T
    return {"low": low, "high": high}


def _curves(axes: Any) -> Iterator[pd.DataFrame]:
    taken: list[Any] = []
    for container in axes.containers:
        if isinstance(container, BarContainer):
            middle = [bar.get_x() + bar.get_width() / 2 for bar in container]
            ends = _ends(container.errorbar) if container.errorbar else {}
            height = [bar.get_height() for bar in container]
            yield _named(container, "bars", {"x": middle, "y": height} | ends)
        elif isinstance(container, ErrorbarContainer):
            taken += container.lines[1]  # caps
            for line in filter(None, container.lines[:1]):  # a bar chart's have no line
                taken.append(line)
                x, y = line.get_data(orig=False)
                table = _named(container, "points", {"x": x, "y": y} | _ends(container))
                table["name"] += "" if container.has_yerr else ", x error"
                yield table
    for line in axes.get_lines():
        is_of_data = all(line.get_transform().contains_branch_seperately(axes.transData))
        if line not in taken and is_of_data:  # a line across the panel is no data
            x, y = line.get_data(orig=False)
            yield _named(line, "line", {"x": x, "y": y})
    for patch in axes.patches:
        if isinstance(patch, StepPatch):
            values, edges, _ = patch.get_data()
            yield _named(patch, "steps", {"x": edges, "y": np.append(values, np.nan)})


def _images(axes: Any) -> Iterator[pd.DataFrame]:
    for image in axes.get_images():
        array: NDArray[np.float64] = np.ma.filled(image.get_array().astype(np.float64), np.nan)
        if array.ndim == 2:
            left, right, bottom, top = image.get_extent()
            first, last = (bottom, top) if image.origin == "lower" else (top, bottom)
            x = left + (np.arange(array.shape[1]) + 0.5) * (right - left) / array.shape[1]
            y = first + (np.arange(array.shape[0]) + 0.5) * (last - first) / array.shape[0]
            places = {"y": np.repeat(y, len(x)), "x": np.tile(x, len(y))}
            yield _named(image, "image", places | {"value": _rounded(array.ravel())})


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round to three digits: more than a grey scale shows, and a sixth fewer bytes."""
    size = np.abs(np.where(np.isfinite(values) & (values != 0), values, 1))
    step = 10.0 ** (np.floor(np.log10(size)) - 2)
    return np.asarray(np.round(values / step) * step)


def packed(figure: Any) -> bytes:
    """Return the numbers of a figure as deflated CSV, five digits each: the chunk's content."""
    table = of_figure(figure)
    text = {name: _as_text(column) for name, column in table.items()}
    return zlib.compress(pd.DataFrame(text, columns=table.columns).to_csv(index=False).encode())


def _as_text(column: Any) -> Any:
    """Write numbers with five digits; each once, for places of pixels come again and again."""
    if column.dtype.kind != "f":
        return column
    values, rows = np.unique(column.to_numpy(), return_inverse=True)
    words = ["" if np.isnan(value) else f"{value:.5g}" for value in values]
    return np.array(words, dtype=object)[rows]


def of_png(path: str | os.PathLike[str]) -> pd.DataFrame | None:
    """Read the numbers that a PNG carries; None if it has none."""
    data = Path(path).read_bytes()
    place = 8  # after the signature; then length, type, content, checksum of each chunk
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == CHUNK:
            text = zlib.decompress(data[place + 8 : place + 8 + length])
            return pd.read_csv(io.BytesIO(text))
        place += 12 + length
    return None
