"""Images of a file in units of a range, read when asked for: sets may be larger than the memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet import io

PIECE = 256  # images looked at at once, which bounds the memory


@dataclass(frozen=True)
class Stack:
    """Some images of an array in units of a range; an index gives a float32 array of them.

    Attributes
    ----------
    array : array, shape (N, H, W)
        Bq/mm3 (or HU); mapped or not.
    rows : int array, shape (M,)
        Which of them, in this order.
    low, high : float
        What becomes 0 and 1: 0 and the data set's scale (or a window of HU).
    is_clipped : bool
        Whether what lies outside becomes 0 or 1, as for training; not where activity must add up.
    """

    array: NDArray[Any]
    rows: NDArray[np.intp]
    low: float
    high: float
    is_clipped: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """(M, H, W)."""
        return (len(self.rows), *self.array.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: int | slice | NDArray[Any]) -> NDArray[np.float32]:
        return self._unit(io.take(self.array, self.rows[chosen]), np.float32)

    def pieces(self) -> Iterator[NDArray[np.float64]]:
        """Yield the images in float64, in pieces of bounded size: for fits, which sum over many."""
        for piece in io.pieces(self.array, self.rows):
            yield self._unit(piece, np.float64)

    def exact(self) -> NDArray[np.float64]:
        """Return all images in float64."""
        return self._unit(io.take(self.array, self.rows), np.float64)

    def _unit(self, images: NDArray[Any], kind: type[np.floating[Any]]) -> NDArray[Any]:
        unit = (images.astype(kind, copy=False) - kind(self.low)) / kind(self.high - self.low)
        return np.clip(unit, 0, 1) if self.is_clipped else unit

    def of(self, chosen: NDArray[Any]) -> "Stack":
        """Return a stack of some of the images, which reads nothing yet."""
        return replace(self, rows=self.rows[chosen])

    def evenly(self, most: int) -> "Stack":
        """Return all images, or every second, third, .. of them, for at most `most`."""
        return replace(self, rows=io.evenly(self.rows, most))


Images = NDArray[np.float32] | Stack


def whole(array: NDArray[Any], scale_bq_mm3: float) -> Stack:
    """Return all images of an array (N, H, W) in Bq/mm3 in units of the scale, clipped to it."""
    return Stack(array, np.arange(len(array)), 0.0, scale_bq_mm3)


def by_pieces(
    functions: Sequence[Callable[[NDArray[np.float32]], NDArray[np.float64]]], images: Images
) -> list[NDArray[np.float64]]:
    """Return what each function says of each image; every image is read once."""
    pieces = (images[start : start + PIECE] for start in range(0, len(images), PIECE))
    said = [[function(piece) for function in functions] for piece in pieces]
    return [np.concatenate(column) for column in zip(*said, strict=True)]
