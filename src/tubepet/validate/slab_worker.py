"""Shoot narrow photon beams through slabs; a job file describes them.

`validate.physics` starts it as a process of its own, like `simulate.geant4.worker`. It counts the
photons that pass without interaction. One run does all beams: the slabs stand side by side.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import opengate
import uproot

from tubepet import io
from tubepet.simulate.geant4 import physics, scanner

SPACING_MM = 100.0
SLAB_MM = 50.0


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Count survivors.

    Parameters
    ----------
    job : dict
        folder, seed, physics_list, num_photons, and beams: list of material, energy_kev and
        thickness_mm.

    Returns
    -------
    dict
        counts, one per beam.
    """
    units = opengate.g4_units
    mm = units.mm
    sim = opengate.Simulation()
    sim.random_seed = job["seed"]
    sim.output_dir = job["folder"]
    sim.progress_bar = False
    sim.verbose_level = opengate.logger.NONE
    sim.physics_manager.physics_list_name = job["physics_list"]
    sim.g4_commands_before_init.append(f"/process/em/binsPerDecade {physics.BINS_PER_DECADE}")
    sim.physics_manager.global_production_cuts.all = physics.OTHER_CUT_MM * mm
    half_mm = max(thick["thickness_mm"] for thick in job["beams"]) + 10
    width_mm = SPACING_MM * (len(job["beams"]) + 1)
    sim.world.size = [2 * width_mm * mm, 2 * SLAB_MM * mm, 4 * half_mm * mm]
    sim.world.material = "G4_Galactic"
    scanner.add_lyso(sim, units)
    for i, beam in enumerate(job["beams"]):
        slab = sim.add_volume("Box", f"slab_{i}")
        slab.size = [SLAB_MM * mm, SLAB_MM * mm, beam["thickness_mm"] * mm]
        slab.material = beam["material"]
        slab.translation = [i * SPACING_MM * mm, 0, 0]
        source = sim.add_source("GenericSource", f"beam_{i}")
        source.particle = "gamma"
        source.energy.mono = beam["energy_kev"] * units.keV
        source.position.type = "point"
        source.position.translation = [i * SPACING_MM * mm, 0, -half_mm * mm]
        source.direction.type = "momentum"
        source.direction.momentum = [0, 0, 1]
        source.n = job["num_photons"]
    plane = sim.add_volume("Box", "plane")
    plane.size = [2 * width_mm * mm, 2 * SLAB_MM * mm, 1e-3 * mm]
    plane.translation = [0, 0, half_mm * mm]
    plane.material = "G4_Galactic"
    survivors = sim.add_actor("PhaseSpaceActor", "survivors")
    survivors.attached_to = "plane"
    survivors.attributes = ["KineticEnergy", "PrePosition", "PreDirection"]
    survivors.output_filename = "survivors.root"
    sim.run()
    with uproot.open(Path(job["folder"]) / "survivors.root") as file:
        data = file["survivors"].arrays(library="np")
    beam_of = np.rint(data["PrePosition_X"] / SPACING_MM).astype(int)
    energy_mev = np.array([1e-3 * beam["energy_kev"] for beam in job["beams"]])
    is_beam = (beam_of >= 0) & (beam_of < len(energy_mev)) & (data["PreDirection_Z"] > 1 - 1e-12)
    off_mev = np.abs(data["KineticEnergy"] - energy_mev[np.where(is_beam, beam_of, 0)])
    counts = np.bincount(beam_of[is_beam & (off_mev < 1e-6)], minlength=len(energy_mev))
    return {"counts": counts.tolist()}


if __name__ == "__main__":
    job_path = Path(sys.argv[1])
    io.write_json(job_path.with_name("result.json"), run(io.read_json(job_path)))
