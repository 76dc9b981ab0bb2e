"""Measure the path lengths of electrons that stop in blocks; a job file describes them.

`validate.electrons` starts it as a process of its own, like `simulate.geant4.worker`. Production
cuts are longer than any range, so Geant4 takes all losses as continuous. A step may be as long as a
path. Its length is then the range by Geant4's stopping power, radiative losses included.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import opengate
import uproot

from tubepet import io
from tubepet.simulate.geant4 import scanner

SPACING_MM = 100.0
BLOCK_MM = 20.0
CUT_MM = 1e5
ONE_STEP = f"/process/eLoss/StepFunction 1 {BLOCK_MM} mm"


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the lengths of the paths.

    Parameters
    ----------
    job : dict
        folder, seed, physics_list, num_electrons, and beams: list of material and energy_kev.

    Returns
    -------
    dict
        mean_mm and spread_mm (largest less smallest) of the paths, one each per beam.
    """
    units = opengate.g4_units
    mm = units.mm
    sim = opengate.Simulation()
    sim.random_seed = job["seed"]
    sim.output_dir = job["folder"]
    sim.progress_bar = False
    sim.verbose_level = opengate.logger.NONE
    sim.physics_manager.physics_list_name = job["physics_list"]
    sim.physics_manager.global_production_cuts.all = CUT_MM * mm
    sim.g4_commands_before_init.append(ONE_STEP)
    sim.world.size = [2 * SPACING_MM * (len(job["beams"]) + 1) * mm, 100 * mm, 100 * mm]
    sim.world.material = "G4_Galactic"
    scanner.add_lyso(sim, units)
    paths = sim.add_actor("PhaseSpaceActor", "paths")
    paths.attached_to = [f"block_{i}" for i in range(len(job["beams"]))]
    paths.attributes = ["EventID", "ParentID", "TrackLength", "EventPosition"]
    paths.steps_to_store = "all"
    paths.output_filename = "paths.root"
    for i, beam in enumerate(job["beams"]):
        block = sim.add_volume("Box", f"block_{i}")
        block.size = [BLOCK_MM * mm] * 3
        block.material = beam["material"]
        block.translation = [i * SPACING_MM * mm, 0, 0]
        source = sim.add_source("GenericSource", f"beam_{i}")
        source.particle = "e-"
        source.energy.mono = beam["energy_kev"] * units.keV
        source.position.type = "point"
        source.position.translation = [i * SPACING_MM * mm, 0, 0]
        source.direction.type = "iso"
        source.n = job["num_electrons"]
    sim.run()
    with uproot.open(Path(job["folder"]) / "paths.root") as file:
        data = file["paths"].arrays(library="np")
    kept = data["ParentID"] == 0
    beam_of = np.rint(data["EventPosition_X"][kept] / SPACING_MM).astype(int)
    longest = np.zeros(int(data["EventID"].max()) + 1)
    np.maximum.at(longest, data["EventID"][kept], data["TrackLength"][kept])
    of_event = np.zeros(len(longest), int)
    of_event[data["EventID"][kept]] = beam_of
    lengths = [longest[(of_event == i) & (longest > 0)] for i in range(len(job["beams"]))]
    return {
        "mean_mm": [float(one.mean()) for one in lengths],
        "spread_mm": [float(np.ptp(one)) for one in lengths],
    }


if __name__ == "__main__":
    job_path = Path(sys.argv[1])
    io.write_json(job_path.with_name("result.json"), run(io.read_json(job_path)))
