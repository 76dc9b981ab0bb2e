"""Rotations and mirror images of square slices: tubes lie in every direction alike."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_SYMMETRIES = 8  # of the square: four rotations, mirrored or not


def dihedral(image: Tensor, element: int) -> Tensor:
    """Apply symmetry 0 (none) .. 7 of the square to images (..., H, W)."""
    turned = torch.rot90(image, element % 4, dims=(-2, -1))
    return turned.flip(-1) if element >= 4 else turned


def turned(images: NDArray[Any], element: int) -> NDArray[Any]:
    """Do as `dihedral` on arrays; the result is a view."""
    image = np.rot90(images, element % 4, axes=(-2, -1))
    return image[..., ::-1] if element >= 4 else image
