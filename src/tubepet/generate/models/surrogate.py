"""Make, of the drawing of a part, the volume that scanner and reconstruction would make of it.

    drawing -> a scanner and its MLEM in image space, fitted to training volumes -> volume

Drawings cost milliseconds, images are scarce. There is no network and no training:
`tubepet.generate.layers.scanner_twin` is fitted once. Slices are cut from volumes of new tubes.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tubepet.dataset.drawing import draw_new, read_population
from tubepet.generate.data import Data
from tubepet.generate.layers.scanner_twin import ScannerTwin, fit
from tubepet.generate.run import Config, Model, needed


class DrawnVolumes(nn.Module):
    """The model of scanner and reconstruction, and the population of new tubes.

    Parameters
    ----------
    image_size : int
        Side of the slices in pixels.
    population : mapping
        JSON of the `Population` that new tubes are drawn from.
    model_mm : sequence of float
        See `ScannerTwin`.
    num_iterations : int
        See `ScannerTwin`.
    """

    def __init__(
        self,
        image_size: int,
        population: Mapping[str, Any],
        model_mm: list[float],
        num_iterations: int,
    ) -> None:
        super().__init__()
        self.population = read_population(population)
        grid = self.population.grid
        self.twin = ScannerTwin(
            (self.population.num_slices, image_size, image_size),
            (grid.slice_mm, grid.pixel_mm, grid.pixel_mm),
            grid.fwhm_mm, grid.filter_fwhm_mm, model_mm, num_iterations,
        )  # fmt: skip

    def volumes(self, fluids: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Make volumes of drawings.

        Parameters
        ----------
        fluids : float32 array, shape (n, nz, ny, nx)
            Fluid fractions, as from `Population.draw_volume`.
        rng : numpy Generator
            Draws the counts.

        Returns
        -------
        float32 array, shape (n, nz, ny, nx)
            Units of the data set's scale, at least 0, may exceed 1.
        """
        made = (self.twin.volume(f, rng.random(f.shape, np.float32)) for f in fluids)
        return np.stack(list(made))


class Surrogate(Model):
    """The model that makes images of given tubes, so with labels, and whole volumes."""

    name = "surrogate"
    network = DrawnVolumes
    is_fitted = True
    is_labelled = True
    argument_keys = ()
    why_no_graph = "it draws counts and reconstructs them"

    def generator_arguments(self, config: Config, data: Data) -> dict[str, Any]:
        """Return the constructor arguments of `DrawnVolumes`."""
        volumes = needed(data.volumes)
        return super().generator_arguments(config, data) | {
            "population": asdict(volumes.population),
            "model_mm": list(volumes.model_mm),
            "num_iterations": config["num_iterations"] * config["num_subsets"],
        }

    def fit(self, config: Config, data: Data) -> tuple[DrawnVolumes, pd.DataFrame]:
        """Return the generator, fitted to the training volumes, and the rounds of the fit."""
        volumes = needed(data.volumes)
        network = self.make_generator(self.generator_arguments(config, data))
        rounds = fit(network.twin, volumes.images / data.real.high, volumes.fluid)
        return network.eval(), rounds

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
        chance = np.random.default_rng(int(torch.randint(2**31, (1,), generator=rng)))
        drawings, labels, tubes = draw_new(network.population, num, chance, wanted)
        population = network.population
        slices = []
        for tube, z_mm in zip(tubes, labels["z_mm"], strict=True):
            fluid = population.draw_volume(tube)
            level = int(np.abs(population.all_mm - z_mm).argmin())
            slices.append(network.volumes(fluid[None], chance)[0, level])
        images = torch.from_numpy(np.stack(slices))[:, None]
        return 2 * images.clamp(0, 1) - 1, labels, drawings.defect
