"""Learn the step from a surrogate to reality: a flow from its volumes to real ones.

The surrogate's volume of a drawing is the start, the real image of the same drawing the end
(`generate.layers.flow`). Their noise is independent: the flow takes all starts of a drawing to all
ends of it, not a start to its own end. Few real parts do not show what noise is. So the network
first learns the way to simulated images, of which there are many, and then, for as many steps, the
way to real ones.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from tubepet.generate.layers.augment import draw_transform
from tubepet.generate.layers.flow import VelocityNet, cut_crops, flowed, matching_error
from tubepet.generate.layers.scanner_twin import ScannerTwin
from tubepet.logs import Bar
from tubepet.rng import derived_seed, stream

Images = NDArray[np.float32]  # shape (n, nz, ny, nx)

CHANNELS = 16
BATCH = 4  # crops
LEARNING_RATE = 1e-3
NUM_SAMPLING_STEPS = 6
LEAST_STARTS = 48  # volumes of the surrogate that a training sees, several of each of few parts


class Parts(NamedTuple):
    """Images of parts, in units of their activity, and the fluid fractions of their drawings."""

    images: Images
    fluids: Images


class Residual:
    """The surrogate with the flow behind it.

    Parameters
    ----------
    twin : ScannerTwin
        Fitted to the real parts.
    simulated, real : Parts
        What the flow learns from, in this order.
    num_steps : int
        Of each of the two trainings.
    seed : int
        Decides weights, starts and crops.
    """

    def __init__(
        self, twin: ScannerTwin, simulated: Parts, real: Parts, num_steps: int, seed: int
    ) -> None:
        torch.set_num_threads(1)  # the same sums in the same order on every machine
        self.twin = twin
        self.mean, self.spread = float(real.images.mean()), float(real.images.std())
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.velocity = VelocityNet(CHANNELS)
        for name, parts in (("simulated", simulated), ("real", real)):
            self._learn(parts, num_steps, derived_seed(seed, name))
        self.velocity.eval()

    def _learn(self, parts: Parts, num_steps: int, seed: int) -> None:
        each = -(-LEAST_STARTS // len(parts.images))
        images, fluids = (np.repeat(array, each, axis=0) for array in parts)
        starts = np.stack([
            self.twin.volume(fluid, stream(seed, "start", i).random(fluid.shape, np.float32))
            for i, fluid in enumerate(fluids)
        ])  # fmt: skip
        rng = torch.Generator().manual_seed(seed)
        optimizer = AdamW(self.velocity.parameters(), lr=LEARNING_RATE)
        schedule = OneCycleLR(optimizer, LEARNING_RATE, total_steps=num_steps + 1)
        for _ in Bar(range(num_steps), desc="flow", unit="step"):
            crops = cut_crops((starts, images, fluids), BATCH, rng)
            turned = draw_transform("dihedral", BATCH, crops[0].shape[-1], rng)
            start, end, drawing = (turned(crop)[:, None] for crop in crops)
            time = torch.rand(BATCH, generator=rng)
            ends = (self._unit(start), self._unit(end))
            error = matching_error(self.velocity, *ends, drawing, time)
            optimizer.zero_grad(set_to_none=True)
            error.backward()
            optimizer.step()
            schedule.step()

    def _unit(self, volumes: Tensor) -> Tensor:
        return (volumes - self.mean) / self.spread

    def volume(self, fluid: Images, uniform: Images) -> Images:
        """Make the volume of a drawing; as `ScannerTwin.volume`."""
        start, drawing = (
            torch.from_numpy(x)[None, None] for x in (self.twin.volume(fluid, uniform), fluid)
        )
        made = flowed(self.velocity, self._unit(start), drawing, NUM_SAMPLING_STEPS)[0, 0].numpy()
        return np.maximum(made * np.float32(self.spread) + np.float32(self.mean), 0)
