"""The slices of the data set as every later stage reads them: by split, or as a tube's volume."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet import io
from tubepet.dataset.stack import Stack
from tubepet.errors import InputError
from tubepet.io import PathLike

TOLERANCE = 1e-3  # of a slice's thickness: places are sums of steps, and NIfTI rounds the steps


@dataclass(frozen=True)
class Slices:
    """Real slices, one row of the table each, and the scale of them all.

    Attributes
    ----------
    images : float32 array, shape (N, H, W)
        Bq/mm3; may be mapped from a file.
    table : DataFrame
        ``slices.parquet``, N rows: tube, split, z_mm, .. The slices of a tube are in consecutive
        rows, upwards along z.
    scale_bq_mm3 : float
        What becomes 1.
    pixel_mm, slice_mm : float
        Distance of neighbours in a slice, and of slices.
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
            If one is damaged, they do not belong together, the slices of a tube are not in order,
            or there is no scale.
        """
        array, rows, facts = io.read_array(images), io.read_table(table), io.read_json(info)
        num = sum(facts["num_slices"].values())
        if len(rows) != num:
            raise InputError(f"{table}: got {len(rows)} rows, expected {num}, as {info} says")
        if array.ndim != 3 or len(array) != num:
            raise InputError(
                f"{images}: got shape {array.shape}, expected {num} slices, one per row of {table}"
            )
        keys = ("scale_bq_mm3", "pixel_mm", "slice_mm")
        slices = cls(array, rows, *(facts[key] for key in keys))
        if not slices.scale_bq_mm3 > 0:
            raise InputError(
                f"{info}: got scale_bq_mm3 {slices.scale_bq_mm3:g}, expected more than 0 Bq/mm3"
            )
        slices._check_order(table)
        return slices

    def _check_order(self, path: PathLike) -> None:
        firsts = self._firsts
        for i in firsts[pd.Index(self.tube[firsts]).duplicated()][:1]:
            raise InputError(
                f"{path}: row {i} is of {self.tube[i]} again, expected the slices of a tube in "
                "consecutive rows"
            )
        step_mm = np.diff(self._z_mm)
        is_wrong = np.abs(step_mm - self.slice_mm) > TOLERANCE * self.slice_mm
        is_wrong[firsts[1:] - 1] = False  # from one tube to the next
        for i in np.flatnonzero(is_wrong)[:1]:
            raise InputError(
                f"{path}: z_mm of {self.tube[i]} goes from {self._z_mm[i]:g} to "
                f"{self._z_mm[i + 1]:g} at row {i + 1}, expected steps of {self.slice_mm:g} mm"
            )

    @cached_property
    def split(self) -> NDArray[np.str_]:
        """The split of each slice."""
        return self.table["split"].to_numpy(str)

    @cached_property
    def tube(self) -> NDArray[np.str_]:
        """The tube of each slice."""
        return self.table["tube"].to_numpy(str)

    @property
    def _z_mm(self) -> NDArray[np.float64]:
        return self.table["z_mm"].to_numpy(float)

    @property
    def _firsts(self) -> NDArray[np.intp]:
        """The rows in which a tube begins."""
        return np.flatnonzero(np.append(True, self.tube[1:] != self.tube[:-1]))

    @cached_property
    def tubes(self) -> dict[str, NDArray[np.intp]]:
        """The rows of each tube, in the table's order."""
        ends = pairwise([*self._firsts, len(self.tube)])
        return {str(self.tube[begin]): np.arange(begin, end) for begin, end in ends}

    def rows(self, split: str) -> NDArray[np.intp]:
        """Return the rows of a split: train, val, test, or "unused"."""
        return np.flatnonzero(self.split == split)

    def of(self, split: str) -> Stack:
        """Return the slices of a split in units of the scale, clipped to it as for training."""
        return Stack(self.images, self.rows(split), 0.0, self.scale_bq_mm3)

    def volume(self, tube: str) -> tuple[Stack, NDArray[np.float64]]:
        """Return a tube's slices as a volume (n, H, W), in units as in `of`, and their z in mm.

        Neighbours are `slice_mm` apart, the first is the lowest.
        """
        rows = self.tubes[tube]
        return Stack(self.images, rows, 0.0, self.scale_bq_mm3), self._z_mm[rows]

    def drawn(self, path: PathLike) -> NDArray[Any]:
        """Map what was drawn of each slice (fluid, expected, defect), row by row as `images`."""
        array = io.read_array(path)
        if array.shape != self.images.shape:
            raise InputError(
                f"{path}: got shape {array.shape}, expected {self.images.shape}, that of the slices"
            )
        return array

    def labels(self, path: PathLike) -> pd.DataFrame:
        """Read the labels of each slice (``labels.parquet``), row by row as `table`."""
        labels = io.read_table(path)
        if not np.array_equal(labels["tube"].to_numpy(str), self.tube):
            raise InputError(f"{path}: expected the tubes of the slices row by row, got others")
        return labels
