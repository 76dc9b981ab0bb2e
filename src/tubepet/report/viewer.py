"""Data of the slice viewer: one tube as materials, true activity, image, and generated neighbour.

All four are shown on the grid of the reconstructed image. Each travels as 8 or 16 bits, deflated.
"""

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tubepet.types import Grid, Volume

COLOUR_MAPS = ("viridis", "cividis", "magma", "gray")  # perceptually uniform


def on_grid(volume: Volume, grid: Grid, order: int) -> NDArray[np.float64]:
    """Return the values of `volume` at the voxel centres of `grid`; 0 outside.

    Parameters
    ----------
    order : int
        0: nearest voxel, 1: trilinear.
    """
    index = [
        (axis - origin) / step
        for axis, origin, step in zip(
            grid.axes_mm(), volume.grid.origin_mm, volume.grid.voxel_mm, strict=True
        )
    ]
    places = np.meshgrid(*index, indexing="ij")
    return map_coordinates(volume.array.astype(np.float64), places, order=order)


def nearest_samples(
    image: Volume, samples: Mapping[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], list[str]]:
    """Find the generated image nearest to each slice (least mean square, no rotation).

    Returns
    -------
    float32 array, shape (nz, ny, nx)
    list of str
        What it is: model, number, root mean square difference in Bq/mm3.
    """
    found, names = [], []
    for plane in image.array:
        best: tuple[float, str, int] | None = None
        for model, images in samples.items():
            square = ((images - plane) ** 2).mean(axis=(1, 2))
            i = int(square.argmin())
            if best is None or square[i] < best[0]:
                best = (float(square[i]), model, i)
        assert best is not None
        found.append(samples[best[1]][best[2]])
        names.append(f"{best[1]}, sample {best[2]}, RMS difference {best[0] ** 0.5:.0f} Bq/mm³")
    return np.stack(found), names


def viewer_data(
    labels: Volume, activity: Volume, image: Volume, samples: Mapping[str, NDArray[np.float32]]
) -> dict[str, Any]:
    """Return what the page's viewer reads, as JSON.

    Parameters
    ----------
    labels : Volume of uint8
        0 air, 1 fluid, others the wall.
    activity, image : Volume
        Bq/mm3.
    samples : mapping of array (N, ny, nx)
        Bq/mm3, by model.
    """
    grid = image.grid
    neighbour, names = nearest_samples(image, samples)
    true = on_grid(activity, grid, 1)
    top = float(max(true.max(), image.array.max(), neighbour.max(), 1e-9))
    colour_maps = {
        name: [
            matplotlib.colors.to_hex(colour)
            for colour in matplotlib.colormaps[name](np.linspace(0, 1, 256))
        ]
        for name in COLOUR_MAPS
    }
    return {
        "shape": grid.shape,
        "origin_mm": grid.origin_mm,
        "voxel_mm": grid.voxel_mm,
        "top_bq_mm3": top,
        "window_bq_mm3": [0, float(max(np.quantile(image.array, 0.999), true.max(), 1e-9))],
        # further materials of an own part are walls too
        "labels": _packed(np.minimum(on_grid(labels, grid, 0), 2).astype("<u2")),
        "activity": _packed(_quantised(true, top)),
        "image": _packed(_quantised(image.array, top)),
        "neighbour": _packed(_quantised(neighbour, top)),
        "neighbour_names": names,
        "colour_maps": colour_maps,
    }


def _quantised(values: NDArray[np.floating], top: float) -> NDArray[np.uint16]:
    return np.rint(np.clip(values / top, 0, 1) * 65535).astype("<u2")


def _packed(values: NDArray[np.uint16]) -> str:
    return base64.b64encode(zlib.compress(values.tobytes(), 9)).decode()
