"""Sets of images that stay in their file until they are used, so they may exceed the memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet import io

PIECE = 256  # images looked at at once, which bounds the memory


@dataclass(frozen=True)
class Stack:
    """Some images of an array, scaled from a range to [0, 1]. Indexing reads them as float32.

    Attributes
    ----------
    array : array, shape (N, H, W)
        Bq/mm3 (or HU); mapped or not.
    rows : int array, shape (M,)
        The images of the set, in this order.
    low, high : float
        The values that become 0 and 1: 0 and the data set's scale, or a window of HU.
    is_clipped : bool
        Whether values outside become 0 or 1, as for training. Clipping changes the total activity.
    floor : float
        Values below become 0, in units of the range.
    """

    array: NDArray[Any]
    rows: NDArray[np.intp]
    low: float
    high: float
    is_clipped: bool = True
    floor: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(M, H, W)."""
        return (len(self.rows), *self.array.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: int | slice | NDArray[Any]) -> NDArray[np.float32]:
        return self._unit(io.take(self.array, self.rows[chosen]), np.float32)

    def pieces(self) -> Iterator[NDArray[np.float64]]:
        """Yield the images as float64 in pieces of bounded size, for fits that sum over many."""
        for piece in io.pieces(self.array, self.rows):
            yield self._unit(piece, np.float64)

    def exact(self) -> NDArray[np.float64]:
        """Return all images in float64."""
        return self._unit(io.take(self.array, self.rows), np.float64)

    def _unit(self, images: NDArray[Any], kind: type[np.floating[Any]]) -> NDArray[Any]:
        unit = (images.astype(kind, copy=False) - kind(self.low)) / kind(self.high - self.low)
        unit = np.clip(unit, 0, 1) if self.is_clipped else unit
        return np.where(unit < self.floor, kind(0), unit) if self.floor else unit

    def of(self, chosen: NDArray[Any]) -> "Stack":
        """Return a stack of some of the images, without reading them."""
        return replace(self, rows=self.rows[chosen])

    def within(self, window: slice, floor: float) -> "Stack":
        """Return the images cut to a square window, with their darkness below a floor as 0."""
        return replace(self, array=self.array[:, window, window], floor=floor)

    def evenly(self, most: int) -> "Stack":
        """Return at most `most` images: all, or every second, third, .. one."""
        return replace(self, rows=io.evenly(self.rows, most))


Images = NDArray[np.float32] | Stack


def whole(array: NDArray[Any], scale_bq_mm3: float) -> Stack:
    """Return a stack of all images (N, H, W) in Bq/mm3; 0 and the scale become 0 and 1, clipped."""
    return Stack(array, np.arange(len(array)), 0.0, scale_bq_mm3)


def by_pieces(
    functions: Sequence[Callable[[NDArray[np.float32]], NDArray[np.float64]]], images: Images
) -> list[NDArray[np.float64]]:
    """Apply each function to all images, in pieces; every image is read once.

    Functions take images (n, H, W) and return arrays of n rows. The result has one array per
    function, with N rows.
    """
    pieces = (images[start : start + PIECE] for start in range(0, len(images), PIECE))
    said = [[function(piece) for function in functions] for piece in pieces]
    return [np.concatenate(column) for column in zip(*said, strict=True)]
