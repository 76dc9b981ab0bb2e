"""The PET scanner in GATE: a ring of axial strips, each holding one column of crystals.

Simplified: no blocks, reflectors, electronics or housing. The geometry is the one that
`tubepet.types` states: column 0 on +x, counter-clockwise; ring 0 at the lowest z. Whether the
crystals have room is checked with the config (`tubepet.plan.config`).
"""

import math
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from tubepet.constants import LYSO_ATOMS, LYSO_G_CM3
from tubepet.types import Scanner

GAP_MM = 1.0  # air between the crystals and the envelope of the ring


def add_lyso(sim: Any, units: Any) -> None:
    """Add the crystals' material, `LYSO`."""
    sim.volume_manager.material_database.add_material_nb_atoms(
        "LYSO", list(LYSO_ATOMS), list(LYSO_ATOMS.values()), LYSO_G_CM3 * units.g_cm3
    )


def add_scanner(sim: Any, units: Any, scanner: Scanner) -> None:
    """Add the volumes `ring`, `strip` and `crystal` to a GATE simulation.

    The copy numbers of a crystal's volume id end in (column, ring).

    Parameters
    ----------
    sim : opengate.Simulation
    units : Box
        ``opengate.g4_units``.
    scanner : Scanner
    """
    mm = units.mm
    add_lyso(sim, units)
    length_mm = scanner.num_rings * scanner.axial_pitch_mm
    outer_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm
    ring = sim.add_volume("Tubs", "ring")
    ring.material = "G4_AIR"
    ring.rmin = (scanner.inner_radius_mm - GAP_MM) * mm
    ring.rmax = (math.hypot(outer_mm, scanner.crystal_width_mm / 2) + GAP_MM) * mm
    ring.dz = (length_mm / 2 + GAP_MM) * mm  # half length

    strip = sim.add_volume("Box", "strip")
    strip.mother = "ring"
    strip.material = "G4_AIR"
    strip.size = [scanner.crystal_depth_mm * mm, scanner.crystal_width_mm * mm, length_mm * mm]
    turns = Rotation.from_euler(
        "z", 2 * np.pi * np.arange(scanner.num_columns)[:, None] / scanner.num_columns
    )
    middle_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    strip.translation = list(turns.apply([middle_mm * mm, 0, 0]))
    strip.rotation = list(turns.as_matrix())

    crystal = sim.add_volume("Box", "crystal")
    crystal.mother = "strip"
    crystal.material = "LYSO"
    crystal.size = [
        scanner.crystal_depth_mm * mm,
        scanner.crystal_width_mm * mm,
        scanner.crystal_height_mm * mm,
    ]
    z_mm = (np.arange(scanner.num_rings) - (scanner.num_rings - 1) / 2) * scanner.axial_pitch_mm
    crystal.translation = [[0, 0, z * mm] for z in z_mm]
