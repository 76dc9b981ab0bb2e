"""Images of a file in units of a scale, read when asked for: sets may be larger than the memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet import io

PIECE = 256  # images looked at at once, which bounds the memory


@dataclass(frozen=True)
class Stack:
    """Some images of an array, over a scale and clipped to it; an index gives an array of them.

    Attributes
    ----------
    array : array, shape (N, H, W)
        Bq/mm3; mapped or not.
    rows : int array, shape (M,)
        Which of them, in this order.
    scale_bq_mm3 : float
        What becomes 1, as for training.
    """

    array: NDArray[Any]
    rows: NDArray[np.intp]
    scale_bq_mm3: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """(M, H, W)."""
        return (len(self.rows), *self.array.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, chosen: slice | NDArray[Any]) -> NDArray[np.float32]:
        unit = io.take(self.array, self.rows[chosen]) / np.float32(self.scale_bq_mm3)
        return np.clip(unit, 0, 1, dtype=np.float32)

    def of(self, chosen: NDArray[Any]) -> "Stack":
        """Return a stack of some of the images, which reads nothing yet."""
        return replace(self, rows=self.rows[chosen])


Images = NDArray[np.float32] | Stack


def whole(array: NDArray[Any], scale_bq_mm3: float) -> Stack:
    """Return all images of an array (N, H, W) in Bq/mm3."""
    return Stack(array, np.arange(len(array)), scale_bq_mm3)


def by_pieces(
    functions: Sequence[Callable[[NDArray[np.float32]], NDArray[np.float64]]], images: Images
) -> list[NDArray[np.float64]]:
    """Return what each function says of each image; every image is read once."""
    pieces = (images[start : start + PIECE] for start in range(0, len(images), PIECE))
    said = [[function(piece) for function in functions] for piece in pieces]
    return [np.concatenate(column) for column in zip(*said, strict=True)]
