"""One GATE simulation in a process of its own, described by a job file.

The only module that imports opengate; `gate` starts it with the environment that Geant4 needs,
 and reads what it leaves: the ROOT files, and the counts in ``result.json``.
"""

import ctypes
import resource
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import itk.support.helpers
import opengate
import opengate_core  # type: ignore[import-untyped]

from tubepet import io
from tubepet.simulate.geant4 import digitizer, lutetium, objects, physics, scanner
from tubepet.simulate.sources import fillings
from tubepet.types import Grid, Scanner

# ITK would import torch where that is installed, to accept its tensors: 1.5 s and 200 MB lost.
itk.support.helpers._HAVE_TORCH = False
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the simulation that `tubepet.simulate.geant4.gate` described.

    Parameters
    ----------
    job : dict
        See `tubepet.simulate.geant4.gate.simulate`.

    Returns
    -------
    dict
        decays of the source, lutetium_decays, versions, wall and CPU seconds of the event loop,
        and peak memory.
    """
    start_s = time.monotonic()
    units = opengate.g4_units
    sim = opengate.Simulation()
    sim.random_seed = job["seed"]
    sim.number_of_threads = 1
    sim.output_dir = job["folder"]
    sim.progress_bar = False
    sim.verbose_level = opengate.logger.NONE
    sim.check_volumes_overlap = False  # thousands of volumes; see `tubepet.plan.config`
    instrument = Scanner(**job["scanner"])
    sim.world.size = [3 * scanner.half_size_mm(instrument) * units.mm] * 3
    sim.world.material = "G4_AIR"
    crystals = scanner.add_scanner(sim, units, instrument)
    cut_mm = job.get("crystal_cut_mm", physics.CRYSTAL_CUT_MM)
    physics.set_physics(sim, units, job["physics_list"], cut_mm, crystals)
    source = job["source"]
    materials = ["G4_AIR", "G4_WATER"]
    if source["kind"] == "tube":
        materials = objects.add_materials(sim, units, fillings(source))
        what = source["labels"], source["activity"], Grid(**source["grid"]), materials
        sources = [objects.add_tube(sim, units, *what)]
    elif source["kind"] == "solids":
        sources = objects.add_solids(sim, units, source["wall"], source["fluid"])
    else:
        sources = [objects.add_cylinder(sim, units, source["radius_mm"], source["length_mm"])]
    if job.get("positron_kev", []):
        physics.set_positrons(sim, units, materials)
    for one, share in zip(sources, source.get("shares", [1.0]), strict=True):
        objects.shoot(one, units, share * job["activity_bq"], job.get("positron_kev", []))
    if job.get("has_lutetium", False):
        path = Path(job["folder"]) / "lutetium.root"
        crystals_bq = lutetium.write_decays(path, instrument, job["duration_s"], job["seed"])
        lutetium.add_source(sim, units, str(path), crystals_bq)
    digitizer.add_digitizer(
        sim, units, instrument, job["delay_ns"], "singles.root", "coincidences.root", crystals
    )
    statistics = sim.add_actor("SimulationStatisticsActor", "statistics")
    statistics.track_types_flag = True
    sim.run_timing_intervals = [[0, job["duration_s"] * units.s]]

    setup_s, setup_cpu_s = time.monotonic() - start_s, _cpu_s()
    sim.run()
    geant4 = opengate_core.GateInfo.get_G4Version().strip("$ ").removeprefix("Name: ")
    num_lutetium = int(statistics.counts.track_types.get(lutetium.MARK, 0))
    return {
        "decays": int(statistics.counts.events) - num_lutetium,
        "lutetium_decays": num_lutetium,
        "versions": {"opengate": version("opengate"), "geant4": geant4},
        "setup_s": setup_s,
        "run_cpu_s": _cpu_s() - setup_cpu_s,
        "cpu_s": _cpu_s(),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    if sys.platform == "linux":  # a killed parent must not leave Geant4 running
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    job_path = Path(sys.argv[1])
    io.write_json(job_path.with_name("result.json"), run(io.read_json(job_path)))
