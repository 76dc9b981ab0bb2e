"""The decay of 176Lu in the crystals, for GATE: a file of what decays emit, and the source of it.

Geant4's ion source would need its tables of radioactive decay, which substitute tables have not.
So the decays are drawn as the fast engine draws them (`tubepet.simulate.fast.lutetium`), written to
a ROOT file, and read by opengate's phase-space source: one event per decay.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import uproot

from tubepet import rng
from tubepet.simulate.fast import kernels, lutetium, setup, tables
from tubepet.types import Scanner

# The source takes all particles up to the next of this kind for one event. It leaves no trace, and
# marks the events of lutetium; its energy in the file is only to be above the source's threshold.
MARK_PDG, MARK, MARK_KEV = -12, "anti_nu_e", 1.0
PDG = np.array([11, 22, 22, 11])  # of the kernels' kinds: what is local is a slow electron
# Of a file: further decays are the same ones again, with new directions.
MOST_DECAYS = 1_000_000
SPARE_SIGMAS = 6.0


def write_decays(path: str | Path, scanner: Scanner, duration_s: float, seed: int) -> float:
    """Write the decays of an acquisition; returns the activity, Bq."""
    activity_bq = lutetium.activity_bq(scanner)
    expected = activity_bq * duration_s
    num_decays = min(int(expected + SPARE_SIGMAS * math.sqrt(expected)) + 1, MOST_DECAYS)
    decay, kind, kev_and_mm = kernels.emitted_by_lutetium(
        rng.derived_seed(seed, "simulate", "lutetium"), 0, num_decays, lutetium.table(),
        setup.ring(scanner, tables.photons()),
    )  # fmt: skip
    first = np.flatnonzero(np.diff(decay, prepend=-1))  # of each decay; the mark goes before it
    pdg = np.insert(PDG[kind], first, MARK_PDG)
    mev = np.insert(kev_and_mm[:, 0], first, MARK_KEV) * 1e-3
    place_mm = np.insert(kev_and_mm[:, 1:], first, kev_and_mm[first, 1:], axis=0)
    columns = {
        "PDGCode": pdg.astype(np.int32),
        "KineticEnergy": mev.astype(np.float32),
        **{f"Position_{axis}": place_mm[:, i].astype(np.float32) for i, axis in enumerate("XYZ")},
    }
    with uproot.recreate(path) as file:
        file.mktree("decays", {name: values.dtype for name, values in columns.items()})
        file["decays"].extend(columns)
    return activity_bq


def add_source(sim: Any, units: Any, path: str, activity_bq: float) -> None:
    """Add the source that reads what `write_decays` wrote, each particle in a new direction."""
    source = sim.add_source("PhaseSpaceSource", "lutetium")
    source.phsp_file = path
    source.activity = activity_bq * units.Bq
    source.global_flag = True
    source.position_key = source.direction_key = "Position"  # directions are drawn, not read
    source.isotropic_direction = True
    source.generate_until_next_primary = True
    source.primary_PDGCode = MARK_PDG
    source.primary_lower_energy_threshold = MARK_KEV / 2 * units.keV
    source.batch_size = 100_000
