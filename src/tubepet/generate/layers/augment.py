"""Augmentation of real and generated images: symmetries of the square, shifts, cut squares.

Each step draws one transform per row. It is applied to the real batch and to the generated batches
of both the discriminator's and the generator's step. With augmentation in one of them alone the
generator collapses (docs/notes/2026-11-model.md). Transforms rearrange pixels, so gradients pass.
Unlike the source, they leave brightness and contrast alone, because intensities are activities.

References
----------
DiffAugment: Zhao et al. 2020, arXiv:2006.10738; their code's translation of 1/8 and cutout of 1/2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tubepet.dataset.symmetries import NUM_SYMMETRIES, dihedral

MAX_SHIFT = 1 / 8  # of the image's side
CUTOUT = 1 / 2  # of the image's side
EMPTY = -1.0  # no activity
HALF_SCALE = 0.0  # fills the cut square; no slice has a square of this one value


@dataclass(frozen=True)
class Transform:
    """One random transform for each of B images. A step calls it with each of its batches.

    Attributes
    ----------
    source : int64 tensor, shape (B, H * W), or None
        The pixel that each output pixel shows; None changes nothing.
    is_outside, is_cut : bool tensor, shape (B, 1, H, W), or None
        Output pixels from beyond the edge, and those of the cut square.
    """

    source: Tensor | None = None
    is_outside: Tensor | None = None
    is_cut: Tensor | None = None

    def __call__(self, images: Tensor, empty: float = EMPTY) -> Tensor:
        """Transform images (B, C, H, W); `empty` fills pixels from beyond the edge."""
        if self.source is None:
            return images
        source = self.source[:, None].expand(-1, images.shape[1], -1)
        moved = images.flatten(2).gather(2, source).view_as(images)
        if self.is_outside is None or self.is_cut is None:
            return moved
        return moved.masked_fill(self.is_outside, empty).masked_fill(self.is_cut, HALF_SCALE)


def draw_transform(augment: str, num: int, size: int, rng: torch.Generator) -> Transform:
    """Draw the transforms of a step.

    Parameters
    ----------
    augment : {"none", "dihedral", "diffaug"}
        Nothing; a symmetry of the square; a symmetry, a shift by whole pixels and a cut square.
    num, size : int
        Images of a batch, and their side in pixels.
    rng : torch.Generator
        On the CPU.
    """
    if augment == "none":
        return Transform()
    pixel = torch.arange(size)
    maps = [dihedral(torch.arange(size * size).view(size, size), e) for e in range(NUM_SYMMETRIES)]
    source = torch.stack(maps)[torch.randint(NUM_SYMMETRIES, (num,), generator=rng)]  # (B, H, W)
    if augment == "dihedral":
        return Transform(source.flatten(1))
    reach = round(MAX_SHIFT * size)
    shift = torch.randint(-reach, reach + 1, (2, num, 1), generator=rng)
    rows, columns = pixel - shift  # (B, size) each
    inside_rows, inside_columns = rows.clamp(0, size - 1), columns.clamp(0, size - 1)
    image = torch.arange(num)[:, None, None]
    source = source[image, inside_rows[:, :, None], inside_columns[:, None, :]]
    is_outside = _across(rows != inside_rows) | _along(columns != inside_columns)
    centre = torch.randint(size + 1, (2, num, 1), generator=rng)
    near_rows, near_columns = (pixel + 0.5 - centre).abs() < CUTOUT * size / 2
    return Transform(source.flatten(1), is_outside, _across(near_rows) & _along(near_columns))


def _across(rows: Tensor) -> Tensor:
    return rows[:, None, :, None]  # (B, 1, H, 1)


def _along(columns: Tensor) -> Tensor:
    return columns[:, None, None, :]  # (B, 1, 1, W)
