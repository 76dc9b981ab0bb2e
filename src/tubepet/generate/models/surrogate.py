"""Make, of the drawing of a part, the volume that scanner and reconstruction would make of it.

    drawing -> a scanner and its MLEM in image space, fitted to training volumes -> volume

Drawings cost milliseconds, images are scarce. There is no network and no training:
`tubepet.generate.layers.scanner_twin` is fitted once. Slices are cut from volumes of new tubes.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from tubepet.dataset.drawing import read_population
from tubepet.generate.data import Data
from tubepet.generate.layers.scanner_twin import ScannerTwin, fit
from tubepet.generate.models.volumetric import Volumetric
from tubepet.generate.run import Config, needed


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

    @property
    def shape(self) -> tuple[int, ...]:
        """Return nz, ny, nx of the volumes."""
        return self.twin.shape

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


class Surrogate(Volumetric):
    """The model that makes images of given tubes, so with labels, and whole volumes."""

    name = "surrogate"
    network = DrawnVolumes
    is_fitted = True
    argument_keys = ()
    why_no_graph = "it draws counts and reconstructs them"

    def generator_arguments(self, config: Config, data: Data) -> dict[str, Any]:
        """Return the constructor arguments of `DrawnVolumes`."""
        volumes = needed(data.volumes)
        return super().generator_arguments(config, data) | {
            "model_mm": list(volumes.model_mm),
            "num_iterations": config["num_iterations"] * config["num_subsets"],
        }

    def fit(self, config: Config, data: Data) -> tuple[DrawnVolumes, pd.DataFrame]:
        """Return the generator, fitted to the training volumes, and the rounds of the fit."""
        volumes = needed(data.volumes)
        network = self.make_generator(self.generator_arguments(config, data))
        rounds = fit(network.twin, volumes.images / data.real.high, volumes.fluid)
        return network.eval(), rounds
