"""What lies in the scanner: the tube, of voxels or solids, or the calibration cylinder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xraylib

from tubepet.phantom.geometry import Filling
from tubepet.phantom.materials import GEANT4_NAMES, MATERIALS, of_labels
from tubepet.types import Grid

OBJECT = "object"  # the volume in which scatter counts as scatter in the object


def add_materials(sim: Any, units: Any, fillings: Sequence[Filling]) -> list[str]:
    """Add what Geant4's own database has not; return the material of each label, air first.

    The composition is that of `tubepet.phantom.materials`, so that both engines have the same.
    """
    names = []
    for label, one in enumerate(of_labels(fillings)):
        name = GEANT4_NAMES.get(one.name)
        if name is None or one.g_cm3 != MATERIALS[one.name].g_cm3:
            name = f"{one.name}_{label}"
            symbols = [xraylib.AtomicNumberToSymbol(z) for z in one.shares]
            sim.volume_manager.material_database.add_material_weights(
                name, symbols, list(one.shares.values()), one.g_cm3 * units.g_cm3
            )
        names.append(name)
    return names


def add_tube(
    sim: Any, units: Any, labels_path: str, activity_path: str, grid: Grid, names: Sequence[str]
) -> Any:
    """Add a voxelised tube, and return a source distributed as its activity image.

    GATE centres images on the origin whatever their header says, so the place comes from `grid`.

    Parameters
    ----------
    sim : opengate.Simulation
    units : Box
        ``opengate.g4_units``.
    labels_path, activity_path : str
        Images on `grid`: labels and activity (any unit).
    grid : Grid
    names : sequence of str
        Materials of the labels 0, 1, ..

    Returns
    -------
    opengate source
        Without particle and activity: see `shoot`.
    """
    image = sim.add_volume("Image", OBJECT)
    image.image = labels_path
    image.material = "G4_AIR"
    # half-open intervals of the image value
    image.voxel_materials = [[i - 0.5, i + 0.5, name] for i, name in enumerate(names)]
    centre_mm = [(axis[0] + axis[-1]) / 2 for axis in reversed(grid.axes_mm())]  # x, y, z
    image.translation = list(np.array(centre_mm) * units.mm)
    source = sim.add_source("VoxelSource", "activity")
    source.image = activity_path
    source.attached_to = OBJECT
    return source


def add_solids(
    sim: Any, units: Any, wall: dict[str, float], fluid: list[dict[str, Any]]
) -> list[Any]:
    """Add a tube as exact cylinders along z, and return a source that fills each fluid cylinder.

    Parameters
    ----------
    sim : opengate.Simulation
    units : Box
        ``opengate.g4_units``.
    wall : dict
        radius_mm and length_mm of the outer surface, centred; its inside is aluminium.
    fluid : list of dict
        radius_mm, length_mm and middle_mm (x, y, z) of each piece of the bore, inside the wall,
        and source_radius_mm, out to which it is active.

    Returns
    -------
    list of opengate source
        Without particle and activity: see `shoot`.
    """
    _add_tubs(sim, units, OBJECT, "G4_Al", wall)
    sources = []
    for i, piece in enumerate(fluid):
        bore = _add_tubs(sim, units, f"bore_{i}", "G4_WATER", piece)
        bore.mother = OBJECT
        bore.translation = [x * units.mm for x in piece["middle_mm"]]
        sources.append(
            _cylinder_source(sim, units, bore.name, piece["source_radius_mm"], piece["length_mm"])
        )
    return sources


def add_cylinder(sim: Any, units: Any, radius_mm: float, length_mm: float) -> Any:
    """Add a cylinder of air along z, centred, and return a source that fills it (calibration)."""
    size = {"radius_mm": radius_mm, "length_mm": length_mm}
    _add_tubs(sim, units, OBJECT, "G4_AIR", size)
    return _cylinder_source(sim, units, OBJECT, radius_mm, length_mm)


def _add_tubs(sim: Any, units: Any, name: str, material: str, size: dict[str, float]) -> Any:
    solid = sim.add_volume("Tubs", name)
    solid.material = material
    solid.rmin, solid.rmax = 0, size["radius_mm"] * units.mm
    solid.dz = size["length_mm"] / 2 * units.mm  # half length
    return solid


def _cylinder_source(sim: Any, units: Any, volume: str, radius_mm: float, length_mm: float) -> Any:
    source = sim.add_source("GenericSource", f"activity_{volume}")
    source.attached_to = volume
    source.position.type = "cylinder"
    source.position.radius = radius_mm * units.mm
    source.position.dz = length_mm / 2 * units.mm
    return source


def shoot(source: Any, units: Any, activity_bq: float, positron_kev: list[float]) -> None:
    """Let a source emit, isotropically.

    Parameters
    ----------
    source : opengate source
    units : Box
        ``opengate.g4_units``.
    activity_bq : float
        Decays per second, by positron emission.
    positron_kev : list of float
        Borders of equally probable intervals of the positrons' energies: Geant4 slows them down
        and annihilates them (see `physics.set_positrons`). Empty: photon pairs of 511 keV, not
        quite collinear, no positron range.
    """
    source.direction.type = "iso"
    if positron_kev:
        source.particle = "e+"
        source.energy.type = "histogram"  # borders, each with the weight of the interval below it
        intervals = len(positron_kev) - 1
        source.energy.histogram_energy = [kev * units.keV for kev in positron_kev]
        # opengate multiplies the activity by the sum of these weights
        source.energy.histogram_weight = [0.0] + [1.0 / intervals] * intervals
    else:
        source.particle = "back_to_back"
        source.direction.accolinearity_flag = True
    source.activity = activity_bq * units.Bq
