"""Pack the data of the report's viewer: drawing, images and map of z of every tube.

A voxel is one byte, stored as its difference from the voxel before it along x. Deflated differences
take half of the space, since neighbouring voxels are similar. If all tubes together are too large
for the page, blocks of voxels are averaged.
"""

import base64
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tubepet.types import Grid, Volume

COLOUR_MAPS = ("viridis", "cividis", "magma", "gray")  # perceptually uniform
MOST_BYTES = 5_500_000  # of all tubes; with charts and pictures the page stays below 15 MB
NUM_PROBES = 5  # tubes whose sizes estimate that of all
MOST_TIMES = 10  # largest voxel over the finest
MARGIN_MM = 2.0  # around the part
LEAST_Z = 5.0  # least end of the colour scale; z of 3 is common by chance


@dataclass(frozen=True)
class Seen:
    """One tube: labels, images, truth, and result of the inspection.

    Attributes
    ----------
    labels : Volume of uint8
        The part with its defect: 0 air, 1 fluid, others the wall.
    short, long : Volume, Bq/mm3
    score_map : Volume
        z of the likeliest defect, on the grid of the images.
    truth, found : mapping
        `truth.json` and `verdict.json`.
    """

    labels: Volume
    short: Volume
    long: Volume
    score_map: Volume
    truth: Mapping[str, Any]
    found: Mapping[str, Any]


def nearest(labels: Volume, grid: Grid) -> NDArray[np.uint8]:
    """Return the labels at the voxel centres of `grid`; 0 outside."""
    index = [
        (axis - origin) / step
        for axis, origin, step in zip(
            grid.axes_mm(), labels.grid.origin_mm, labels.grid.voxel_mm, strict=True
        )
    ]
    places = np.meshgrid(*index, indexing="ij")
    return map_coordinates(labels.array, places, order=0)


def cropped(volume: Volume, labels: Volume) -> Volume:
    """Cut a volume to the part and `MARGIN_MM` around it."""
    places, grid = np.argwhere(labels.array > 0), volume.grid
    cuts, origin = [], []
    for axis, own, low, high in zip(
        grid.axes_mm(), labels.grid.axes_mm(), places.min(0), places.max(0), strict=True
    ):
        is_near = (axis > own[low] - MARGIN_MM) & (axis < own[high] + MARGIN_MM)
        first, last = np.flatnonzero(is_near)[[0, -1]]
        cuts.append(slice(first, last + 1))
        origin.append(float(axis[first]))
    array = volume.array[tuple(cuts)]
    return Volume(array, Grid(array.shape, grid.voxel_mm, (origin[0], origin[1], origin[2])))


def coarser(volume: Volume, voxel_mm: float) -> Volume:
    """Average blocks of voxels whose sides are at most `voxel_mm`, or one voxel if that is more."""
    grid, array = volume.grid, volume.array
    steps = [max(1, int(voxel_mm / size + 1e-6)) for size in grid.voxel_mm]
    num = [max(1, n // step) for n, step in zip(grid.shape, steps, strict=True)]
    steps = [min(step, n) for step, n in zip(steps, grid.shape, strict=True)]
    kept = array[tuple(slice(0, n * step) for n, step in zip(num, steps, strict=True))]
    blocks = kept.reshape(num[0], steps[0], num[1], steps[1], num[2], steps[2])
    sizes = [size * step for size, step in zip(grid.voxel_mm, steps, strict=True)]
    origin = [
        start + (step - 1) / 2 * size
        for start, step, size in zip(grid.origin_mm, steps, grid.voxel_mm, strict=True)
    ]
    mean = blocks.mean((1, 3, 5), dtype=np.float64)
    return Volume(
        mean, Grid(mean.shape, (sizes[0], sizes[1], sizes[2]), (origin[0], origin[1], origin[2]))
    )


def brightest(long: Volume) -> float:
    """Return the end of the grey scale for a long image, its 99.9 % quantile, in Bq/mm3."""
    return max(float(np.quantile(long.array, 0.999)), 1e-9)


def packed(values: NDArray[np.uint8]) -> str:
    """Deflate the differences of bytes along the last axis; return base64."""
    steps = np.diff(values, axis=-1, prepend=np.zeros_like(values[..., :1]))  # modulo 256
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode()


def tube_data(tube: Seen, voxel_mm: float) -> dict[str, Any]:
    """Return the viewer's data of one tube, as JSON.

    Parameters
    ----------
    tube : Seen
    voxel_mm : float
        See `coarser`.
    """
    volumes = {
        name: coarser(cropped(volume, tube.labels), voxel_mm)
        for name, volume in (
            ("short", tube.short), ("long", tube.long), ("map", tube.score_map)
        )
    }  # fmt: skip
    grid = volumes["short"].grid
    tops = {name: max(float(volume.array.max()), 1e-9) for name, volume in volumes.items()}
    tops["long"] = tops["short"] = max(tops["long"], tops["short"])
    tops["map"] = max(tops["map"], LEAST_Z)
    # further materials of an own part are walls too
    shown = {"labels": packed(np.minimum(nearest(tube.labels, grid), 2))}
    for name, volume in volumes.items():
        share = np.clip(volume.array / tops[name], 0, 1)
        shown[name] = packed(np.rint(255 * share).astype(np.uint8))
    keys = ("x_mm", "y_mm", "z_mm")
    return {
        "shape": grid.shape,
        "voxel_mm": grid.voxel_mm,
        "origin_mm": grid.origin_mm,
        "tops": tops,
        "bright": brightest(volumes["long"]),
        "volumes": shown,
        "boxes_mm": [one["box_mm"] for one in tube.truth["defects"]],
        "crosses_mm": [[one[key] for key in keys] for one in tube.found["indications"]],
        "words": _words(tube),
    }


def _words(tube: Seen) -> str:
    defects = [f"{d['class']} of {d['size_mm']:.1f} mm" for d in tube.truth["defects"]]
    family = str(tube.truth["family"]).replace("_", " ")
    return f"{family}, {', '.join(defects) or 'no defect'}; verdict: {tube.found['verdict']}"


def viewer_data(tubes: Mapping[str, Callable[[], Seen]]) -> dict[str, dict[str, Any]]:
    """Return the viewer's data of all tubes, with the finest voxels that fit into `MOST_BYTES`.

    Parameters
    ----------
    tubes : mapping of function
        Functions that read a tube, by name.
    """
    probes = [read() for read in list(tubes.values())[:: max(1, len(tubes) // NUM_PROBES)]]
    finest_mm = min(min(probe.short.grid.voxel_mm) for probe in probes)
    for times in range(1, MOST_TIMES + 1):
        weights = [
            len(text)
            for probe in probes
            for text in tube_data(probe, times * finest_mm)["volumes"].values()
        ]
        if sum(weights) / len(probes) * len(tubes) <= MOST_BYTES:
            break
    return {name: tube_data(read(), times * finest_mm) for name, read in tubes.items()}


def colour_maps() -> dict[str, list[str]]:
    """Return the colours of each map, 256 each, as #rrggbb."""
    steps = np.linspace(0, 1, 256)
    return {
        name: [matplotlib.colors.to_hex(colour) for colour in matplotlib.colormaps[name](steps)]
        for name in COLOUR_MAPS
    }
