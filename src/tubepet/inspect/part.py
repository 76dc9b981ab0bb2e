"""The drawing of a part, on voxels: what is known of it before a measurement."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.phantom import geometry, maps, parts
from tubepet.phantom.spec import Tube
from tubepet.types import Grid, Volume

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A part on one grid, as drawn or as made (with its defect).

    Attributes
    ----------
    fluid, wall : Volume
        Volume fractions, 0 to 1, of the active fluid and of the wall.
    mu : Volume
        Attenuation at 511 keV, 1/mm.
    labels : Volume
        What fills most of each voxel: 0 air, then the fillings.
    fillings : tuple of Filling
        What the labels 1, 2, .. stand for, the fluid first.
    """

    fluid: Volume
    wall: Volume
    mu: Volume
    labels: Volume
    fillings: tuple[geometry.Filling, ...]

    @property
    def fluid_per_mm(self) -> float:
        """Attenuation of the fluid."""
        return maps.filling_mu_per_mm(self.fillings[0])

    @property
    def wall_per_mm(self) -> float:
        """Attenuation of the material that most of the wall is made of; 0 without a wall."""
        counts = np.bincount(self.labels.array.ravel(), minlength=len(self.fillings) + 1)[1:]
        walls = [
            (int(num), maps.filling_mu_per_mm(one))
            for one, num in zip(self.fillings, counts, strict=True)
            if one.activity == 0
        ]
        return max(walls, default=(0, 0.0))[1]

    def on_image(self, grid: Grid) -> Array:
        """Return the fluid fraction on the grid of an image, shape (nz, ny, nx)."""
        return onto_image(self.fluid, grid).astype(np.float64)


def of_voxels(voxels: geometry.Voxels) -> Part:
    """Return the drawing of a part, without its defect, from its voxels."""
    return as_made(voxels.nominal())


def as_made(voxels: geometry.Voxels) -> Part:
    """Return a part with its defect, from its voxels."""
    arrays = voxels.fluid, voxels.wall, maps.mu_per_mm(voxels), voxels.labels()
    fluid, wall, mu, labels = (Volume(array, voxels.grid) for array in arrays)
    return Part(fluid, wall, mu, labels, voxels.fillings)


def of_tube(tube: Tube, phantom: dict[str, Any]) -> Part:
    """Draw a tube without its defect.

    Parameters
    ----------
    tube : Tube
    phantom : dict
        Config section `phantom`: voxel_mm and supersampling.
    """
    clean = replace(tube, defect="none")
    return of_voxels(geometry.voxelise(clean, phantom["voxel_mm"], phantom["supersampling"]))


def of_truth(facts: dict[str, Any], phantom: dict[str, Any]) -> Part:
    """Draw the part of a ``truth.json`` without its defect: a tube or a user's part."""
    if own := facts.get("part"):
        return of_voxels(parts.draw(f"phantom.parts.{facts['tube']}", own, phantom))
    return of_tube(Tube(**facts["drawn"]), phantom)


def onto_image(volume: Volume, grid: Grid) -> Array:
    """Put a map on larger voxels: each of its voxels counts where its centre lies.

    Returns
    -------
    float array, shape (nz, ny, nx)
        Mean of the map over each voxel of the image.
    """
    image = volume.array.astype(np.result_type(volume.array, np.float32))
    axes = zip(volume.grid.axes_mm(), grid.origin_mm, grid.voxel_mm, grid.shape, strict=True)
    for axis_mm, origin_mm, voxel_mm, num in axes:
        # rint would put two half-way ones together
        places = np.floor((axis_mm - origin_mm) / voxel_mm + 0.5)
        lies_in = (places == np.arange(num)[:, None]).astype(image.dtype)
        image = np.tensordot(image, lies_in, (0, 1))  # the new axis comes last: next is the first
    return image * volume.grid.voxel_volume_mm3 / grid.voxel_volume_mm3
