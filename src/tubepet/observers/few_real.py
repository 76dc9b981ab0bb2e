"""Learn from few parts of a declared reality (`reality`), from simulated ones, or from both."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tubepet import rng
from tubepet.errors import InputError
from tubepet.observers import learned
from tubepet.observers.generated import Imaging, filled_up
from tubepet.observers.read import Volumes


@dataclass(frozen=True)
class Arm:
    """What a network learns from.

    Attributes
    ----------
    num_real : int
        Number of real parts, the first ones.
    has_simulated : bool
        Whether it learns from simulated parts too.
    has_generated : bool
        Whether their images are made by the surrogate, fitted to the real parts.
    num_flow_steps : int
        Whether, if not 0, and how long a flow learns the step from the surrogate to reality.
    """

    num_real: int = 0
    has_simulated: bool = False
    has_generated: bool = False
    num_flow_steps: int = 0


def training_parts(
    real: Volumes, simulated: Volumes, arm: Arm, imaging: Imaging, seed: int
) -> tuple[Volumes, NDArray[np.int64]]:
    """Return what a network of an arm learns from.

    Parameters
    ----------
    real, simulated : float32 array, shape (parts, 4, nz, ny, nx)
        `read.CHANNELS`.
    seed : int
        Seed of generated images.

    Returns
    -------
    float32 array, shape (parts, 4, nz, ny, nx)
    int64 array, shape (parts,)
        0 for real parts, 1 for others; both count alike in the training.

    Raises
    ------
    InputError
        If there are fewer real parts than asked for, or none and nothing else.
    """
    num = arm.num_real
    if num > len(real) or (num == 0 and (arm.has_generated or not arm.has_simulated)):
        raise InputError(
            f"reality.real_parts: got {num}, expected 1 to {len(real)}, a reality without parts "
            "teaches nothing"
        )
    if not arm.has_simulated:
        return learned.scaled(real[:num]), np.zeros(num, np.int64)
    both = np.concatenate([real[:num], simulated])
    groups = np.repeat([0, 1], [num, len(simulated)])
    if arm.has_generated:
        both = filled_up(both, num, imaging, seed, arm.num_flow_steps)
    return learned.scaled(both), groups


def scores(
    known: Volumes, groups: NDArray[np.int64], judged: Volumes, num_networks: int, num_steps: int,
    seed: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Return the mean score of some networks that learn from the same parts, shape (judged,)."""
    found = [
        learned.scores(
            learned.train(
                known, learned.Arm(), num_steps, rng.derived_seed(seed, "network", i), groups
            ),
            judged,
        )
        for i in range(num_networks)
    ]
    return np.asarray(np.mean(found, axis=0), np.float64)
