"""From a wish to labelled images: the generators whose input is the drawing of a slice.

The drawing of a new tube costs milliseconds and no simulation; the generator makes of it what
scanner and reconstruction would. What is true of the drawing is true of the image: its labels.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tubepet.dataset.drawing import Drawings, Population, draw_new
from tubepet.generate.run import SAMPLE_CHUNK


class DrawnGenerator(Protocol):
    """A module that makes images of drawings."""

    population: Population

    def generate(self, drawing: Tensor, end_mm: Tensor, rng: torch.Generator) -> Tensor:
        """(B, 2, H, W), `fluid` and `expected`, and (B,) -> (B, 1, H, W) in [-1, 1]."""
        ...


def as_input(drawings: Drawings) -> Tensor:
    """Return what a generator sees of drawings, shape (n, 2, H, W)."""
    return torch.from_numpy(np.stack([drawings.fluid, drawings.expected], axis=1))


@torch.no_grad()
def sample_labelled(
    generator: Any, num: int, rng: torch.Generator, wanted: Mapping[str, Any]
) -> tuple[Tensor, pd.DataFrame, NDArray[np.uint8]]:
    """Generate images of new tubes, each with its labels.

    Parameters
    ----------
    generator : DrawnGenerator
        In evaluation mode.
    num : int
    rng : torch.Generator
        On the CPU; the same state gives the same tubes and images.
    wanted : mapping
        What to fix of the tubes, see `tubepet.dataset.drawing.draw_new`; {} draws them as the
        dataset's.

    Returns
    -------
    images : tensor, shape (num, 1, H, W)
        In [-1, 1].
    labels : DataFrame
        See `draw_new`.
    masks : uint8 array, shape (num, H, W)
        1 where the defect is.

    Raises
    ------
    InputError
        If a wanted value is unknown or impossible.
    """
    seed = int(torch.randint(2**31, (1,), generator=rng))
    population = generator.population
    drawings, labels = draw_new(population, num, np.random.default_rng(seed), wanted)
    inputs = (as_input(drawings), torch.from_numpy(drawings.end_mm).float())
    chunks = zip(*(part.split(SAMPLE_CHUNK) for part in inputs), strict=True)
    images = [generator.generate(*chunk, rng).cpu() for chunk in chunks]
    return torch.cat(images), labels, drawings.defect
