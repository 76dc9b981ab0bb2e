"""What lies in the scanner: the voxelised tube with its activity, or the calibration cylinder."""

from typing import Any

import numpy as np

from tubepet.types import Grid

OBJECT = "object"  # the volume in which scatter counts as scatter in the object
# Materials by label (see rule make_phantom), as half-open intervals of the image value.
VOXEL_MATERIALS = [[-0.5, 0.5, "G4_AIR"], [0.5, 1.5, "G4_WATER"], [1.5, 2.5, "G4_Al"]]


def add_tube(
    sim: Any, units: Any, labels_path: str, activity_path: str, grid: Grid, activity_bq: float
) -> None:
    """Add a voxelised tube: its materials, and a source distributed as its activity image.

    GATE centres images on the origin whatever their header says, so the place comes from `grid`.

    Parameters
    ----------
    sim : opengate.Simulation
    units : Box
        ``opengate.g4_units``.
    labels_path, activity_path : str
        Images on `grid`: labels (0 air, 1 fluid, 2 aluminium) and activity (any unit).
    grid : Grid
    activity_bq : float
        Total activity, Bq.
    """
    image = sim.add_volume("Image", OBJECT)
    image.image = labels_path
    image.material = "G4_AIR"
    image.voxel_materials = VOXEL_MATERIALS
    centre_mm = [(axis[0] + axis[-1]) / 2 for axis in reversed(grid.axes_mm())]  # x, y, z
    image.translation = list(np.array(centre_mm) * units.mm)
    source = sim.add_source("VoxelSource", "activity")
    source.image = activity_path
    source.attached_to = OBJECT
    _shoot_pairs(source, units, activity_bq)


def add_cylinder(
    sim: Any, units: Any, radius_mm: float, length_mm: float, activity_bq: float
) -> None:
    """Add a uniform cylindrical source along z in air, centred (for the calibration)."""
    envelope = sim.add_volume("Tubs", OBJECT)
    envelope.material = "G4_AIR"
    envelope.rmin, envelope.rmax = 0, radius_mm * units.mm
    envelope.dz = length_mm / 2 * units.mm  # half length
    source = sim.add_source("GenericSource", "activity")
    source.attached_to = OBJECT
    source.position.type = "cylinder"
    source.position.radius = radius_mm * units.mm
    source.position.dz = length_mm / 2 * units.mm
    _shoot_pairs(source, units, activity_bq)


def _shoot_pairs(source: Any, units: Any, activity_bq: float) -> None:
    """Photon pairs of 511 keV, isotropic, not quite collinear (no positron range)."""
    source.particle = "back_to_back"
    source.direction.type = "iso"
    source.direction.accolinearity_flag = True
    source.activity = activity_bq * units.Bq
