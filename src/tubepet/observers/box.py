"""The box around all parts that observers look at."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.types import Grid

Array = NDArray[np.float64]

VOXEL_MM = 1.0  # about half of the resolution: smaller ones hold no more
AXIAL_MARGIN_MM = 2.0  # resolution moves activity beyond the ends; at the sides the wall is margin


class Box:
    """The middle of an image that holds every tube, in voxels of about `VOXEL_MM`.

    Parameters
    ----------
    grid : Grid
        Grid of the image.
    phantom : mapping
        Config section `phantom`: its largest tube fits into the box.
    """

    def __init__(self, grid: Grid, phantom: Mapping[str, Any]) -> None:
        across_mm = phantom["bore_radius_mm"][1] + phantom["wall_mm"][1] + phantom["bend_mm"][1] / 2
        along_mm = phantom["length_mm"][1] / 2 + AXIAL_MARGIN_MM
        self.factors = [max(1, round(VOXEL_MM / size)) for size in grid.voxel_mm]
        self.voxel_mm = [f * size for f, size in zip(self.factors, grid.voxel_mm, strict=True)]
        halves = [
            min(math.ceil(reach / size), num // (2 * factor))
            for reach, size, num, factor in zip(
                (along_mm, across_mm, across_mm), self.voxel_mm, grid.shape, self.factors,
                strict=True,
            )
        ]  # fmt: skip
        self.shape = tuple(2 * half for half in halves)  # even: `learned` looks at pairs

    def of(self, image: NDArray[Any]) -> Array:
        """Return the mean of the image (nz, ny, nx) in each voxel of the box."""
        cut = tuple(
            slice((num - n * f) // 2, (num - n * f) // 2 + n * f)
            for num, n, f in zip(image.shape, self.shape, self.factors, strict=True)
        )
        sizes = [s for both in zip(self.shape, self.factors, strict=True) for s in both]
        return np.asarray(image[cut].reshape(sizes).mean(axis=(1, 3, 5), dtype=np.float64))
