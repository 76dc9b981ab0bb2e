"""Conditional flow matching, a rival of the surrogate that makes volumes of drawings.

It learns everything that the surrogate knows of scanner and reconstruction: it sees volumes of
training tubes and their drawings (`tubepet.generate.layers.flow`), and starts from white noise.
Training takes crops, sampling whole volumes, which is possible as the network is convolutional.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tubepet.dataset.drawing import draw_new, draw_slices, read_population, slice_labels
from tubepet.generate.data import Data
from tubepet.generate.layers.augment import draw_transform
from tubepet.generate.layers.flow import VelocityNet, cut_crops, flowed, matching_error
from tubepet.generate.models.volumetric import Volumetric, as_images, numpy_stream
from tubepet.generate.run import Config, Run, needed

EVERY = 3  # slices; of one tube's slices, the noise of those 3 mm apart is nearly independent


class DrawnFlow(nn.Module):
    """The velocity, the units of its volumes, and the population of new tubes.

    Parameters
    ----------
    image_size : int
        Side of the slices in pixels.
    channels : int
        See `VelocityNet`.
    num_sampling_steps : int
        See `flowed`.
    mean, spread : float
        Mean and standard deviation of the training volumes, units of the scale.
    population : mapping
        JSON of the `Population` that new tubes are drawn from.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        num_sampling_steps: int,
        mean: float,
        spread: float,
        population: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.population = read_population(population)
        self.shape = (self.population.num_slices, image_size, image_size)
        self.num_sampling_steps = num_sampling_steps
        self.mean, self.spread = mean, spread
        self.velocity = VelocityNet(channels)

    def forward(self, volumes: Tensor, drawings: Tensor, time: Tensor) -> Tensor:
        """See `VelocityNet.forward`; volumes have mean 0 and spread 1."""
        velocity: Tensor = self.velocity(volumes, drawings, time)
        return velocity

    def volumes(self, fluids: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Make volumes of drawings, see `Volumetric`.

        Parameters
        ----------
        fluids : float32 array, shape (n, nz, ny, nx)
        rng : numpy Generator
            Draws the starts.
        """
        made = [self._volume(f, rng.standard_normal(f.shape, np.float32)) for f in fluids]
        return np.stack(made)

    def _volume(self, fluid: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[Any]:
        device = next(self.parameters()).device
        start, drawing = (torch.from_numpy(x)[None, None].to(device) for x in (noise, fluid))
        made = flowed(self, start, drawing, self.num_sampling_steps)[0, 0].cpu().numpy()
        return np.maximum(made * np.float32(self.spread) + np.float32(self.mean), 0)


class Flow(Volumetric):
    """Flow matching: the generator is the velocity, and there is no critic."""

    name = "flow"
    network = DrawnFlow
    argument_keys = ("channels", "num_sampling_steps")
    memory_format = torch.channels_last_3d
    why_no_graph = "it makes volumes, in many passes through its network"

    def generator_arguments(self, config: Config, data: Data) -> dict[str, Any]:
        """Return the constructor arguments of `DrawnFlow`."""
        unit = needed(data.volumes).images / np.float64(data.real.high)
        facts = {"mean": float(unit.mean()), "spread": float(unit.std()) or 1.0}
        return super().generator_arguments(config, data) | facts

    def train_step(self, run: Run) -> dict[str, Tensor]:
        """Step down the mean square error of the velocity, at times even from 0 to 1."""
        network = run.networks["generator"]
        end, drawings = (run.own(crop) for crop in self._crops(run))
        start = run.noise(*end.shape[1:])
        time = run.own(torch.rand(run.config["batch_size"], generator=run.rng))
        error = matching_error(
            network, start, (end - network.mean) / network.spread, drawings, time
        )
        run.update("generator", error)
        return {"matching_error": error}

    def _crops(self, run: Run) -> tuple[Tensor, Tensor]:
        """Draw crops of volumes in units of the scale, and those of their drawings."""
        volumes, num = needed(run.data.volumes), run.config["batch_size"]
        images, drawings = cut_crops((volumes.images, volumes.fluid), num, run.rng)
        augment = "none" if run.config["augment"] == "none" else "dihedral"  # as without a critic
        turned = draw_transform(augment, num, images.shape[-1], run.rng)
        return turned(images / run.data.real.high)[:, None], turned(drawings)[:, None]

    def sample_labelled(
        self, network: Any, num: int, data: Data, rng: torch.Generator, wanted: Mapping[str, Any]
    ) -> tuple[Tensor, pd.DataFrame, NDArray[np.uint8]]:
        """Generate images of new tubes, with the labels of their drawings.

        A volume costs a second, so every third slice of it is taken. For `wanted` see
        `tubepet.dataset.drawing.draw_new`.
        """
        chance, parts, num_made = numpy_stream(rng), [], 0
        while num_made < num:
            parts.append(_slices_of_a_tube(network, chance, wanted))
            num_made += len(parts[-1][0])
        images, labels, masks = zip(*parts, strict=True)
        table = pd.concat(labels, ignore_index=True)[:num]
        return as_images(np.concatenate(images)[:num]), table, np.concatenate(masks)[:num]


def _slices_of_a_tube(
    network: DrawnFlow, chance: np.random.Generator, wanted: Mapping[str, Any]
) -> tuple[NDArray[np.float32], pd.DataFrame, NDArray[np.uint8]]:
    """Return slices of a new tube, their labels and masks; all cross a defect that is wanted."""
    population = network.population
    _, _, (tube,) = draw_new(population, 1, chance, wanted)
    places_mm = population.places_mm(tube)
    if "defect" in wanted and tube.defect != "none":
        is_cut = draw_slices(tube, places_mm, population.grid).defect.any(axis=(1, 2))
        places_mm = places_mm[is_cut]
    places_mm = places_mm[chance.integers(min(EVERY, len(places_mm))) :: EVERY]
    drawn = draw_slices(tube, places_mm, population.grid)
    volume = network.volumes(population.draw_volume(tube)[None], chance)[0]
    levels = np.abs(population.all_mm[:, None] - places_mm).argmin(axis=0)
    return volume[levels], slice_labels(tube, places_mm, drawn, population.grid), drawn.defect
