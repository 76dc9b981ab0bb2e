"""Child of test_positrons: positrons of F18 stop in water; angles and ranges as JSON.

Usage: python positron_run.py OUT_DIR NUM_POSITRONS
"""

import json
import sys
from pathlib import Path

import numpy as np
import opengate
import uproot

from tubepet.simulate.geant4 import objects, physics

folder = Path(sys.argv[1])
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
water = sim.add_volume("Box", "water")
water.size = [40 * mm] * 3
water.material = "G4_WATER"
source = sim.add_source("GenericSource", "source")
source.position.type = "point"
physics.set_positrons(sim, units)
objects.shoot(source, units, "e+", 1.0)
source.activity, source.n = 0, int(sys.argv[2])
photons = sim.add_actor("PhaseSpaceActor", "photons")
photons.attached_to = "water"
photons.steps_to_store = "first"
photons.attributes = [
    "EventID", "ParticleName", "TrackVertexKineticEnergy", "TrackVertexMomentumDirection",
    "TrackVertexPosition",
]  # fmt: skip
photons.output_filename = "photons.root"
sim.run()

with uproot.open(folder / "photons.root") as file:
    data = file["photons"].arrays(library="np")
kept = np.flatnonzero(
    (data["ParticleName"] == "gamma") & (np.abs(data["TrackVertexKineticEnergy"] - 0.511) < 0.01)
)
kept = kept[np.argsort(data["EventID"][kept], kind="stable")]
first = np.flatnonzero(np.diff(data["EventID"][kept]) == 0)
along, place = (
    np.stack([data[f"{name}_{axis}"][kept] for axis in "XYZ"], axis=1)
    for name in ("TrackVertexMomentumDirection", "TrackVertexPosition")
)
off = along[first] + along[first + 1]  # zero if collinear
result = {
    "angle_deg": np.degrees(np.linalg.norm(off, axis=1)).tolist(),
    "range_mm": np.linalg.norm(place[first], axis=1).tolist(),
}
(folder / "result.json").write_text(json.dumps(result))
