"""Read the slices of the data set, by split or as the volume of a tube."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import io
from tubepet.dataset.stack import Stack
from tubepet.errors import InputError
from tubepet.io import PathLike

TOLERANCE = 1e-3  # of slice_mm: places are sums of steps that NIfTI rounds


@dataclass(frozen=True)
class Slices:
    """Reconstructed slices, with one row of the table for each, their scale and voxel size.

    Attributes
    ----------
    images : float32 array, shape (N, H, W)
        Bq/mm3; may be mapped from a file.
    table : DataFrame
        tube, split, z_mm, ..; the slices of a tube are consecutive rows, with rising z.
    scale_bq_mm3 : float
        The activity that becomes 1.
    pixel_mm, slice_mm : float
        Distance of neighbouring pixels, and of neighbouring slices of a tube.
    """

    images: NDArray[np.float32]
    table: pd.DataFrame
    scale_bq_mm3: float
    pixel_mm: float
    slice_mm: float

    @classmethod
    def read(cls, images: PathLike, table: PathLike, info: PathLike) -> "Slices":
        """Read ``slices.npy`` (mapped), ``slices.parquet`` and ``slices.json``.

        Raises
        ------
        InputError
            If they do not belong together, a tube's slices are not in order, or there is no scale.
        """
        array, rows, facts = io.read_array(images), io.read_table(table), io.read_json(info)
        num = sum(facts["num_slices"].values())
        if array.ndim != 3 or not len(array) == len(rows) == num:
            raise InputError(
                f"{images}: got shape {array.shape} and {len(rows)} rows in {table}, expected "
                f"{num} slices as {info} says"
            )
        keys = ("scale_bq_mm3", "pixel_mm", "slice_mm")
        slices = cls(array, rows, *(facts[key] for key in keys))
        if not slices.scale_bq_mm3 > 0:
            raise InputError(f"{info}: got scale_bq_mm3 {slices.scale_bq_mm3:g}, expected > 0")
        for tube, own in slices.tubes.items():
            z_mm = slices.volume(tube)[1]
            is_wrong = np.abs(np.diff(z_mm) - slices.slice_mm) > TOLERANCE * slices.slice_mm
            for i in np.flatnonzero(is_wrong | (np.diff(own) != 1))[:1]:
                raise InputError(
                    f"{table}: got {tube} at z_mm {z_mm[i]:g} in row {own[i]} and next at "
                    f"{z_mm[i + 1]:g} in row {own[i + 1]}, expected it in consecutive rows, "
                    f"{slices.slice_mm:g} mm upwards each"
                )
        return slices

    @cached_property
    def split(self) -> NDArray[np.str_]:
        """The split of each slice: train, val, test, or unused."""
        return self.table["split"].to_numpy(str)

    @cached_property
    def tube(self) -> NDArray[np.str_]:
        """The tube of each slice."""
        return self.table["tube"].to_numpy(str)

    @cached_property
    def tubes(self) -> dict[str, NDArray[np.intp]]:
        """The rows of each tube."""
        by_tube = self.table.groupby("tube").indices
        return {str(name): np.asarray(rows) for name, rows in by_tube.items()}

    def of(self, split: str, is_clipped: bool = True) -> Stack:
        """Return the slices of a split in units of the scale; for training clip them to [0, 1]."""
        rows = np.flatnonzero(self.split == split)
        return Stack(self.images, rows, 0.0, self.scale_bq_mm3, is_clipped)

    def volume(self, tube: str) -> tuple[Stack, NDArray[np.float64]]:
        """Return a tube's slices as a volume (n, H, W), clipped as in `of`, and their z in mm."""
        rows = self.tubes[tube]
        stack = Stack(self.images, rows, 0.0, self.scale_bq_mm3)
        return stack, self.table["z_mm"].to_numpy(float)[rows]

    def drawn(self, path: PathLike) -> NDArray[Any]:
        """Map a file of `draw_dataset` (fluid, expected or defect): one drawing per image."""
        array = io.read_array(path)
        if array.shape != self.images.shape:
            raise InputError(f"{path}: got shape {array.shape}, expected {self.images.shape}")
        return array

    def labels(self, path: PathLike) -> pd.DataFrame:
        """Read the labels (``labels.parquet``), one row per row of `table`."""
        labels = io.read_table(path)
        if not np.array_equal(labels["tube"].to_numpy(str), self.tube):
            raise InputError(f"{path}: got other tubes, expected those of the slices row by row")
        return labels
