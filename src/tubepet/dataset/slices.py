"""The slices of the data set, by split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet.dataset.stack import Stack


@dataclass(frozen=True)
class RealSlices:
    """Real slices in Bq/mm3 (N, H, W), their split and tube, and the data set's scale."""

    images: NDArray[np.float32]
    split: NDArray[np.str_]
    tube: NDArray[np.str_]
    scale_bq_mm3: float

    def of(self, split: str) -> Stack:
        """Return the slices of one split in units of the scale, clipped to it as for training."""
        return Stack(self.images, np.flatnonzero(self.split == split), self.scale_bq_mm3)
