"""What is known of a part before it is measured: its drawing, on voxels."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.phantom import geometry, maps
from tubepet.phantom.spec import Tube
from tubepet.types import Grid, Volume

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A part as drawn, without any defect; all on one grid.

    Attributes
    ----------
    fluid, wall : Volume
        Volume fractions, 0 to 1: of what is active, and of what holds it.
    mu : Volume
        Attenuation at 511 keV, 1/mm.
    """

    fluid: Volume
    wall: Volume
    mu: Volume

    def on_image(self, grid: Grid) -> Array:
        """Return the fluid fraction on the grid of an image, shape (nz, ny, nx)."""
        return onto_image(self.fluid, grid)


def of_voxels(voxels: geometry.Voxels) -> Part:
    """Take the drawing of a tube from its voxels."""
    drawn = voxels.nominal()
    arrays = drawn.fluid, drawn.aluminium, maps.mu_per_mm(drawn)
    return Part(*(Volume(array, drawn.grid) for array in arrays))


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


def onto_image(volume: Volume, grid: Grid) -> Array:
    """Put a map on larger voxels: each of its voxels counts where its centre lies.

    Returns
    -------
    float64 array, shape (nz, ny, nx)
        Mean of the map over each voxel of the image.
    """
    places = [
        np.rint((axis - origin) / size).astype(int)
        for axis, origin, size in zip(
            volume.grid.axes_mm(), grid.origin_mm, grid.voxel_mm, strict=True
        )
    ]
    is_inside = [
        (place >= 0) & (place < num) for place, num in zip(places, grid.shape, strict=True)
    ]
    image = np.zeros(grid.shape)
    kept = volume.array[np.ix_(*is_inside)]
    np.add.at(image, np.ix_(*(p[k] for p, k in zip(places, is_inside, strict=True))), kept)
    return image * volume.grid.voxel_volume_mm3 / grid.voxel_volume_mm3
