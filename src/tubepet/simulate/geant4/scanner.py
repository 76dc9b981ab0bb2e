"""The PET scanner in GATE: a ring of axial strips, each with one column of crystals, or modules.

Simplified: no reflectors, electronics or housing; gaps are air. The geometry is the one that
`tubepet.types` states: column 0 on +x, counter-clockwise; ring 0 at the lowest z. Whether the
crystals have room is checked with the config (`tubepet.plan.config`).
"""

import math
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from tubepet import layout
from tubepet.constants import LYSO_ATOMS, LYSO_G_CM3
from tubepet.layout import Family
from tubepet.types import Scanner

GAP_MM = 1.0  # air between the crystals and the envelope of the ring


def half_size_mm(scanner: Scanner) -> float:
    """Return how far the crystals reach from the middle of the scanner along any axis, about."""
    if scanner.modules:
        return max(layout.reach_mm(scanner), layout.half_length_mm(scanner))
    outer_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm
    return max(outer_mm, scanner.num_rings * scanner.axial_pitch_mm / 2)


def add_lyso(sim: Any, units: Any) -> None:
    """Add the crystals' material, `LYSO`."""
    sim.volume_manager.material_database.add_material_nb_atoms(
        "LYSO", list(LYSO_ATOMS), list(LYSO_ATOMS.values()), LYSO_G_CM3 * units.g_cm3
    )


def add_scanner(sim: Any, units: Any, scanner: Scanner) -> list[str]:
    """Add the crystals to a GATE simulation; return the names of their volumes.

    Parameters
    ----------
    sim : opengate.Simulation
    units : Box
        ``opengate.g4_units``.
    scanner : Scanner
    """
    add_lyso(sim, units)
    if scanner.modules:
        return [
            _add_family(sim, units.mm, i, one) for i, one in enumerate(layout.families(scanner))
        ]
    _add_ring(sim, units.mm, scanner)
    return ["crystal"]


def _add_ring(sim: Any, mm: float, scanner: Scanner) -> None:
    """Add `ring`, `strip` and `crystal`; copy numbers of an id end in (column, ring)."""
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


def _add_family(sim: Any, mm: float, index: int, one: Family) -> str:
    """Add `module_<index>` in all its places, and its crystals; returns their volume's name."""
    module = sim.add_volume("Box", f"module_{index}")
    module.material = "G4_AIR"
    module.size = [one.crystal_depth_mm * mm, one.width_mm * mm, one.height_mm * mm]
    turns = np.tile(one.turns, len(one.z_mm))
    middle_mm = one.inner_radius_mm + one.crystal_depth_mm / 2
    z_mm = np.repeat(one.z_mm, one.around)
    places_mm = np.stack([middle_mm * np.cos(turns), middle_mm * np.sin(turns), z_mm], axis=1)
    module.translation = list(places_mm * mm)
    module.rotation = list(Rotation.from_euler("z", turns[:, None]).as_matrix())

    crystal = sim.add_volume("Box", f"crystal_{index}")
    crystal.mother = module.name
    crystal.material = "LYSO"
    crystal.size = [
        one.crystal_depth_mm * mm,
        one.crystal_width_mm * mm,
        one.crystal_height_mm * mm,
    ]
    crystal.translation = [
        [
            0,
            (column - (one.columns - 1) / 2) * one.pitch_width_mm * mm,
            (ring - (one.rings - 1) / 2) * one.pitch_height_mm * mm,
        ]
        for ring in range(one.rings)
        for column in range(one.columns)
    ]
    return str(crystal.name)
