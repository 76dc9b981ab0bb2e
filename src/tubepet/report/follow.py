"""One tube followed through the chain, in one figure: drawing, activity, sinogram, MLEM image."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tubepet.types import Grid, Listmode, Scanner, Volume

LABEL_COLOURS = ListedColormap(["#f7f7f7", "#4393c3", "#878787"])  # air, fluid, aluminium


def sinogram(
    events: Listmode, scanner: Scanner, num_angles: int, radius_mm: float, num_bins: int
) -> NDArray[np.int64]:
    """Histogram coincidences over the angle and distance of their line from the axis.

    Parameters
    ----------
    num_angles, num_bins : int
        Bins over [0, pi) and [-radius_mm, radius_mm].

    Returns
    -------
    int array, shape (num_angles, num_bins)
        Counts; lines further out than `radius_mm` are left out.
    """
    radius = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    phi1, phi2 = (
        2 * np.pi * (crystal % scanner.num_columns) / scanner.num_columns
        for crystal in (events.crystal1, events.crystal2)
    )
    angle = (phi1 + phi2) / 2
    distance_mm = radius * np.cos((phi2 - phi1) / 2)
    turns = np.floor(angle / np.pi)
    distance_mm = np.where(turns % 2 == 0, distance_mm, -distance_mm)  # same line, angle mod pi
    counts, _, _ = np.histogram2d(
        angle - turns * np.pi,
        distance_mm,
        bins=(num_angles, num_bins),
        range=((0, np.pi), (-radius_mm, radius_mm)),
    )
    return counts.astype(np.int64)


def draw_follow(
    labels: Volume, activity: Volume, events: Listmode, image: Volume, scanner: Scanner
) -> Figure:
    """Draw materials, true activity, sinogram and MLEM image of one tube.

    Parameters
    ----------
    labels : Volume of uint8
        0 air, 1 fluid, 2 aluminium.
    activity, image : Volume of float32, Bq/mm3
    events : Listmode
    scanner : Scanner

    Returns
    -------
    Figure
        Top row: central cross sections and sinogram; bottom row: long sections and the profile.
    """
    figure, axes = plt.subplots(2, 4, figsize=(15, 7.2), layout="constrained")
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
    radius_mm = 60.0
    counts = sinogram(events, scanner, 92, radius_mm, 80)
    axes[0, 3].imshow(
        counts, origin="lower", aspect="auto", extent=(-radius_mm, radius_mm, 0, 180), cmap="magma"
    )
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
