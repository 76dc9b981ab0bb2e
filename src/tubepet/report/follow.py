"""One tube followed through the chain, in one figure: drawing, activity, sinogram, MLEM image."""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tubepet import layout
from tubepet.types import Grid, Listmode, Scanner, Volume

NUM_TURNS, NUM_DISTANCES = 64, 51  # bins of a scanner that is no ring
LABEL_COLOURS = ListedColormap(["#f7f7f7", "#4393c3", "#878787"])  # air, fluid, wall


def sinogram(
    events: Listmode, scanner: Scanner, reach: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Histogram coincidences of a ring over the angle and distance of their line from the axis.

    Bins are those of the scanner itself: the column sum c1 + c2 tells the angle (two neighbouring
    sums share a bin, so that odd and even distances fill it), c2 - c1 the distance.

    Parameters
    ----------
    reach : int
        Distance bins on each side of the axis; lines further out are left out.

    Returns
    -------
    counts : int64 array, shape (num_columns // 2, 2 reach + 1)
        Rows: angle of the normal, 0 to 180 degrees.
    edges_mm : float64 array, shape (2 reach + 2,)
        Distance of the edges of the bins, at mid-depth of the crystals.
    """
    num_columns = scanner.num_columns
    column1, column2 = events.crystal1 % num_columns, events.crystal2 % num_columns
    turns, total = np.divmod(column1 + column2, num_columns)
    step = num_columns // 2 - np.abs(column2 - column1)
    # half a turn further, the same line is on the other side
    step = np.where(turns == 0, step, -step)
    is_near = np.abs(step) <= reach
    counts = np.zeros(((num_columns + 1) // 2, 2 * reach + 1), np.int64)
    np.add.at(counts, (total[is_near] // 2, step[is_near] + reach), 1)
    radius_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    edges = (np.arange(2 * reach + 2) - reach - 0.5) * np.pi / num_columns
    return counts, radius_mm * np.sin(edges)


def sinogram_of_lines(
    events: Listmode, scanner: Scanner
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """As `sinogram`, of any scanner, in equal bins to half the radius of its bore."""
    centres_mm = layout.table(scanner).centres_mm
    start, end = centres_mm[events.crystal1], centres_mm[events.crystal2]
    across = np.stack([start[:, 1] - end[:, 1], end[:, 0] - start[:, 0]], axis=1)
    turn = np.arctan2(across[:, 1], across[:, 0])
    distance_mm = (start[:, :2] * across).sum(axis=1) / np.linalg.norm(across, axis=1)
    distance_mm = np.where((turn >= 0) & (turn < np.pi), distance_mm, -distance_mm)
    half_mm = layout.bore_mm(scanner) / 2
    edges_mm = np.linspace(-half_mm, half_mm, NUM_DISTANCES + 1)
    angles = np.linspace(0, np.pi, NUM_TURNS + 1)
    counts, _, _ = np.histogram2d(np.mod(turn, np.pi), distance_mm, [angles, edges_mm])
    return counts.astype(np.int64), edges_mm


def draw_follow(
    labels: Volume, activity: Volume, events: Listmode, image: Volume, scanner: Scanner
) -> Figure:
    """Draw materials, true activity, sinogram and MLEM image of one tube.

    Parameters
    ----------
    labels : Volume of uint8
        0 air, 1 fluid, others the wall.
    activity, image : Volume of float32, Bq/mm3
    events : Listmode
    scanner : Scanner

    Returns
    -------
    Figure
        Top row: central cross sections and sinogram; bottom row: long sections and the profile.
    """
    figure = Figure(figsize=(15, 7.2), layout="constrained")
    axes = figure.subplots(2, 4)
    limit = float(max(activity.array.max(), np.quantile(image.array, 0.999), 1e-9))
    for column, (volume, title) in enumerate(
        [(labels, "materials"), (activity, "true activity"), (image, "MLEM image")]
    ):
        style = (
            {"cmap": LABEL_COLOURS, "vmin": -0.5, "vmax": 2.5, "interpolation": "nearest"}
            if volume is labels
            else {"cmap": "magma", "vmin": 0, "vmax": limit}
        )
        for row, (plane, extent, axis_name) in enumerate(_sections(volume)):
            shown = axes[row, column].imshow(plane, origin="lower", extent=extent, **style)
            axes[row, column].set(xlabel="x / mm", ylabel=f"{axis_name} / mm", title=title)
            axes[row, column].set(xlim=_limits(labels.grid, 2), ylim=_limits(labels.grid, 1 - row))
    figure.colorbar(shown, ax=axes[:, 2], label="activity / Bq/mm³", shrink=0.7)
    if scanner.modules:
        counts, edges_mm = sinogram_of_lines(events, scanner)
    else:
        counts, edges_mm = sinogram(events, scanner, scanner.num_columns // 7)
    angles = np.linspace(0, 180, len(counts) + 1)
    axes[0, 3].pcolormesh(edges_mm, angles, counts, cmap="magma")
    axes[0, 3].set(
        xlabel="distance from axis / mm",
        ylabel="angle / °",
        title=f"sinogram of {len(events):,} coincidences",
    )
    for volume, name in ((activity, "truth"), (image, "MLEM")):
        middle = volume.array[volume.grid.shape[0] // 2, volume.grid.shape[1] // 2]
        axes[1, 3].plot(volume.grid.axes_mm()[2], middle, label=name)
    axes[1, 3].set(xlabel="x / mm", ylabel="activity / Bq/mm³", title="profile through the middle")
    axes[1, 3].legend()
    return figure


def _limits(grid: Grid, axis: int) -> tuple[float, float]:
    start, step = grid.origin_mm[axis], grid.voxel_mm[axis]
    return start - step / 2, start + (grid.shape[axis] - 0.5) * step


def _sections(
    volume: Volume,
) -> list[tuple[NDArray[np.float32], tuple[float, float, float, float], str]]:
    """Central cross section (y over x) and long section (z over x)."""
    grid = volume.grid
    across = volume.array[grid.shape[0] // 2]
    along = volume.array[:, grid.shape[1] // 2]
    return [
        (across, (*_limits(grid, 2), *_limits(grid, 1)), "y"),
        (along, (*_limits(grid, 2), *_limits(grid, 0)), "z"),
    ]
