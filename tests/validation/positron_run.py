"""Child process of test_positrons: record angles and places of annihilation in water or a tube.

Usage: python positron_run.py JOB.json. The job has folder, num, isotope, and source; the source is
as from `sources.tube_source`, or null for a point in water.
"""

import json
import sys
from pathlib import Path

import numpy as np
import opengate
import uproot

from tubepet.simulate import sources
from tubepet.simulate.geant4 import objects, physics
from tubepet.types import Grid

job = json.loads(Path(sys.argv[1]).read_text())
folder = Path(job["folder"])
units = opengate.g4_units
mm = units.mm
sim = opengate.Simulation()
sim.random_seed = 18
sim.output_dir = folder
sim.progress_bar = False
sim.verbose_level = opengate.logger.NONE
sim.physics_manager.physics_list_name = "G4EmStandardPhysics"
sim.physics_manager.global_production_cuts.all = 1 * mm
sim.world.size = [200 * mm] * 3
sim.world.material = "G4_AIR"
materials = objects.add_materials(sim, units, sources.fillings(job["source"] or {}))
if job["source"]:
    tube = job["source"]
    grid = Grid(**tube["grid"])
    source = objects.add_tube(sim, units, tube["labels"], tube["activity"], grid, materials)
else:
    water = sim.add_volume("Box", objects.OBJECT)
    water.size = [40 * mm] * 3
    water.material = "G4_WATER"
    source = sim.add_source("GenericSource", "source")
    source.position.type = "point"
physics.set_positrons(sim, units, materials)
objects.shoot(source, units, 1.0, sources.positron_kev(job["isotope"]).tolist())
source.activity, source.n = 0, job["num"]
photons = sim.add_actor("PhaseSpaceActor", "photons")
photons.attached_to = "world"
photons.steps_to_store = "first"
photons.attributes = [
    "EventID", "ParticleName", "TrackCreatorProcess", "TrackVertexKineticEnergy",
    "TrackVertexMomentumDirection", "TrackVertexPosition",
]  # fmt: skip
photons.output_filename = "photons.root"
sim.run()

with uproot.open(folder / "photons.root") as file:
    data = file["photons"].arrays(library="np")
kept = np.flatnonzero(
    (data["ParticleName"] == "gamma") & (data["TrackCreatorProcess"] == "annihil")
)
kept = kept[np.argsort(data["EventID"][kept], kind="stable")]
first = np.flatnonzero(np.diff(data["EventID"][kept]) == 0)
along, place = (
    np.stack([data[f"{name}_{axis}"][kept] for axis in "XYZ"], axis=1)
    for name in ("TrackVertexMomentumDirection", "TrackVertexPosition")
)
off = along[first] + along[first + 1]  # zero if collinear
energy_mev = data["TrackVertexKineticEnergy"][kept][first]
np.savez(
    folder / "result.npz",
    angle_deg=np.degrees(np.linalg.norm(off, axis=1)),
    place_mm=place[first],
    is_at_rest=np.abs(energy_mev - 0.511) < 0.01,
)
