"""Replace the images of most training parts by generated ones.

The surrogate (`generate.layers.scanner_twin`) is fitted to a few real parts alone. It makes the
images of the other parts from their drawings with defects. A network trained on these parts differs
in nothing but the images from one that has all real images (`learned`).

The paper's model and its rivals make slices without a drawing, which do not show the place of a
defect.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tubepet.errors import InputError
from tubepet.generate.layers.scanner_twin import ScannerTwin, fit
from tubepet.logs import Bar
from tubepet.observers.box import Box
from tubepet.observers.learned import scaled
from tubepet.observers.read import Volumes
from tubepet.observers.residual import Parts, Residual
from tubepet.reconstruct.projection import blur
from tubepet.rng import derived_seed, stream
from tubepet.types import Grid


@dataclass(frozen=True)
class Imaging:
    """How the images of the parts are made, as far as the surrogate needs it.

    Attributes
    ----------
    voxel_mm : tuple of float
        z, y, x, of the box (`box.Box`).
    level_fwhm_mm, filter_fwhm_mm, model_mm, num_iterations
        Arguments of `ScannerTwin`.
    """

    voxel_mm: tuple[float, ...]
    level_fwhm_mm: float
    filter_fwhm_mm: float
    model_mm: tuple[float, float]
    num_iterations: int


def imaging(section: Mapping[str, Any], phantom: Mapping[str, Any], kernel: blur.Kernel) -> Imaging:
    """Return the imaging of a run.

    Parameters
    ----------
    section, phantom : mapping
        Config sections `reconstruct` and `phantom`.
    kernel : Kernel
        The resolution that the reconstruction models.
    """
    num, size_mm = section["num_pixels"], section["pixel_mm"]
    grid = Grid.centred((section["num_slices"], num, num), (section["slice_mm"], size_mm, size_mm))
    return Imaging(
        tuple(Box(grid, phantom).voxel_mm), section["psf_fwhm_mm"], section["filter_fwhm_mm"],
        blur.mean_mm(kernel), section["num_iterations"] * section["num_subsets"],
    )  # fmt: skip


def filled_up(
    volumes: Volumes, num_real: int, imaging: Imaging, seed: int, num_flow_steps: int = 0
) -> Volumes:
    """Replace the images of all parts but the first ones by generated ones.

    Parameters
    ----------
    volumes : float32 array, shape (parts, 4, nz, ny, nx)
        `read.CHANNELS`, of all training parts.
    num_real : int
        Number of first parts, whose images stay. Without a flow no other images are used.
    seed : int
        Seed of the surrogate's counts, and of the flow.
    num_flow_steps : int
        Length of the two trainings of a flow from the surrogate to reality (`residual`); 0: none.

    Returns
    -------
    float32 array, shape (parts, 4, nz, ny, nx)
        Images in units of their own activity (`learned.scaled`).

    Raises
    ------
    InputError
        If there are not more parts than real ones.
    """
    if not 1 <= num_real < len(volumes):
        raise InputError(
            f"observers.few_parts: got {num_real}, expected fewer than observers.train_parts, "
            f"{len(volumes)}"
        )
    known, others = scaled(volumes[:num_real]), volumes[num_real:]
    result = np.concatenate([known, others])
    fluids = np.clip(volumes[:, 3] + volumes[:, 2], 0, 1)  # as made
    twin = ScannerTwin(
        volumes.shape[2:], imaging.voxel_mm, imaging.level_fwhm_mm, imaging.filter_fwhm_mm,
        imaging.model_mm, imaging.num_iterations,
    )  # fmt: skip
    real = Parts(known[:, 0], fluids[:num_real])
    fit(twin, *real)
    maker: ScannerTwin | Residual = twin
    if num_flow_steps:
        simulated = Parts(scaled(others)[:, 0], fluids[num_real:])
        maker = Residual(twin, simulated, real, num_flow_steps, derived_seed(seed, "flow"))
    for i in Bar(range(num_real, len(volumes)), desc="generated parts", unit="part"):
        uniform = stream(seed, "generated", i).random(fluids[i].shape, np.float32)
        result[i, 0] = maker.volume(fluids[i], uniform)
    return result
