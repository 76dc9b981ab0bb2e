"""The exact symmetries of a tube's cross-section as augmentation.

The same element is applied to the real and the generated batch of the discriminator's step and to
the generated batch of the generator's step: augmenting in one of them only makes the generator
collapse (docs/model.md, prototypes). Intensities are activities and are never touched.
"""

import torch
from torch import Tensor

NUM_SYMMETRIES = 8  # of the square: four rotations, mirrored or not


def dihedral(image: Tensor, element: int) -> Tensor:
    """Apply symmetry 0 (none) .. 7 of the square to images (..., H, W)."""
    turned = torch.rot90(image, element % 4, dims=(-2, -1))
    return turned.flip(-1) if element >= 4 else turned


def draw_symmetry(augment: str, rng: torch.Generator) -> int:
    """Return the symmetry of this step: always 0 for "none", any of 8 for "symmetry"."""
    if augment == "none":
        return 0
    return int(torch.randint(NUM_SYMMETRIES, (1,), generator=rng))
