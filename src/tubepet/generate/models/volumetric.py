"""What models share that make a volume of a drawing: labels, slices cut from volumes."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tubepet.dataset.drawing import draw_new
from tubepet.generate.data import Data
from tubepet.generate.run import Config, Model, needed


class Volumetric(Model):
    """A model whose network has a `population`, a `shape`, and `volumes(fluids, rng)`.

    `fluids` is a float32 array of shape (n, nz, ny, nx) of fluid fractions, as from
    `Population.draw_volume`. Volumes have the same shape. They are in units of the data set's
    scale, at least 0, and may exceed 1.
    """

    is_labelled = True

    def generator_arguments(self, config: Config, data: Data) -> dict[str, Any]:
        """Return the constructor arguments, with the population that new tubes are drawn from."""
        population = asdict(needed(data.volumes).population)
        return super().generator_arguments(config, data) | {"population": population}

    def sample(self, network: Any, num: int, data: Data, rng: torch.Generator) -> Tensor:
        """Generate slices of new tubes, drawn like those of the data set."""
        return self.sample_labelled(network, num, data, rng, {})[0]

    def sample_labelled(
        self, network: Any, num: int, data: Data, rng: torch.Generator, wanted: Mapping[str, Any]
    ) -> tuple[Tensor, pd.DataFrame, NDArray[np.uint8]]:
        """Generate images of new tubes, with the labels of their drawings.

        For each image a tube is drawn, its volume made, and one slice cut. For `wanted` see
        `tubepet.dataset.drawing.draw_new`.
        """
        chance = numpy_stream(rng)
        drawings, labels, tubes = draw_new(network.population, num, chance, wanted)
        population = network.population
        slices = []
        for tube, z_mm in zip(tubes, labels["z_mm"], strict=True):
            fluid = population.draw_volume(tube)
            level = int(np.abs(population.all_mm - z_mm).argmin())
            slices.append(network.volumes(fluid[None], chance)[0, level])
        return as_images(np.stack(slices)), labels, drawings.defect


def numpy_stream(rng: torch.Generator) -> np.random.Generator:
    """Return a NumPy generator whose seed is drawn from PyTorch's."""
    return np.random.default_rng(int(torch.randint(2**31, (1,), generator=rng)))


def as_images(slices: NDArray[np.float32]) -> Tensor:
    """Return slices (n, H, W) in units of the scale as images (n, 1, H, W) in [-1, 1]."""
    return 2 * torch.from_numpy(slices)[:, None].clamp(0, 1) - 1
