"""Child process of test_compton: record photons of 511 keV behind a foil of LYSO.

Usage: python compton_run.py JOB.json. The job has folder, num, thickness_mm, physics_list.
"""

import json
import sys
from pathlib import Path

import numpy as np
import opengate
import uproot

from tubepet.simulate.geant4 import physics, scanner

job = json.loads(Path(sys.argv[1]).read_text())
folder = Path(job["folder"])
units = opengate.g4_units
mm = units.mm
sim = opengate.Simulation()
sim.random_seed = 3
sim.output_dir = folder
sim.progress_bar = False
sim.verbose_level = opengate.logger.NONE
sim.world.size = [100 * mm] * 3
sim.world.material = "G4_Galactic"
scanner.add_lyso(sim, units)
foil = sim.add_volume("Box", "crystal")
foil.size = [2 * mm, 2 * mm, job["thickness_mm"] * mm]
foil.material = "LYSO"
physics.set_physics(sim, units, job["physics_list"], physics.CRYSTAL_CUT_MM, ["crystal"])
source = sim.add_source("GenericSource", "beam")
source.particle = "gamma"
source.energy.mono = 511 * units.keV
source.position.type = "point"
source.position.translation = [0, 0, -10 * mm]
source.direction.type = "momentum"
source.direction.momentum = [0, 0, 1]
source.n = job["num"]
leaving = sim.add_actor("PhaseSpaceActor", "leaving")
leaving.attached_to = "crystal"
leaving.steps_to_store = "exiting"
leaving.attributes = ["PostKineticEnergy", "ParticleName", "TrackCreatorProcess", "PostDirection"]
leaving.output_filename = "leaving.root"
sim.run()

with uproot.open(folder / "leaving.root") as file:
    data = file["leaving"].arrays(library="np")
is_photon = data["ParticleName"] == "gamma"
energy_kev = 1e3 * data["PostKineticEnergy"]
is_beam = is_photon & (data["TrackCreatorProcess"] == "none")
is_x_ray = is_photon & (energy_kev > 50) & (energy_kev < 65)
np.savez(
    folder / "result.npz",
    cosine=data["PostDirection_Z"][is_beam & (energy_kev < 510.999)],
    x_rays=[
        np.count_nonzero(is_x_ray & (data["TrackCreatorProcess"] == process))
        for process in ("phot", "compt")
    ],
)
