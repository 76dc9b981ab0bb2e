"""Child process of test_attenuation: count photons of narrow 511 keV beams behind three slabs.

Usage: python attenuation_run.py OUT_DIR NUM_PHOTONS THICKNESS_MM... (water, aluminium, LYSO)
"""

import json
import sys
from pathlib import Path

import numpy as np
import opengate
import uproot

from tubepet.constants import LYSO_ATOMS, LYSO_G_CM3

MATERIALS = ("G4_WATER", "G4_Al", "LYSO")
SPACING_MM = 100.0

folder, num_photons = Path(sys.argv[1]), int(sys.argv[2])
units = opengate.g4_units
mm = units.mm
sim = opengate.Simulation()
sim.random_seed = 511
sim.output_dir = folder
sim.progress_bar = False
sim.verbose_level = opengate.logger.NONE
sim.physics_manager.physics_list_name = "G4EmStandardPhysics"
sim.physics_manager.global_production_cuts.all = 1 * mm
sim.world.size = [1000 * mm] * 3
sim.world.material = "G4_Galactic"
sim.volume_manager.material_database.add_material_nb_atoms(
    "LYSO", list(LYSO_ATOMS), list(LYSO_ATOMS.values()), LYSO_G_CM3 * units.g_cm3
)
for i, (material, thickness_mm) in enumerate(zip(MATERIALS, sys.argv[3:], strict=True)):
    slab = sim.add_volume("Box", f"slab_{material}")
    slab.size = [50 * mm, 50 * mm, float(thickness_mm) * mm]
    slab.material = material
    slab.translation = [i * SPACING_MM * mm, 0, 0]
    beam = sim.add_source("GenericSource", f"beam_{material}")
    beam.particle = "gamma"
    beam.energy.mono = 511 * units.keV
    beam.position.type = "point"
    beam.position.translation = [i * SPACING_MM * mm, 0, -400 * mm]
    beam.direction.type = "momentum"
    beam.direction.momentum = [0, 0, 1]
    beam.n = num_photons
plane = sim.add_volume("Box", "plane")
plane.size = [900 * mm, 900 * mm, 1e-3 * mm]
plane.translation = [0, 0, 400 * mm]
plane.material = "G4_Galactic"
survivors = sim.add_actor("PhaseSpaceActor", "survivors")
survivors.attached_to = "plane"
survivors.attributes = ["KineticEnergy", "PrePosition", "PreDirection"]
survivors.output_filename = "survivors.root"
sim.run()

with uproot.open(folder / "survivors.root") as file:
    data = file["survivors"].arrays(library="np")
is_untouched = (data["PreDirection_Z"] > 1 - 1e-12) & (np.abs(data["KineticEnergy"] - 0.511) < 1e-6)
beam_of = np.rint(data["PrePosition_X"][is_untouched] / SPACING_MM).astype(int)
counts = np.bincount(beam_of, minlength=len(MATERIALS)).tolist()
(folder / "counts.json").write_text(json.dumps(counts))
