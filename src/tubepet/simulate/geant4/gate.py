"""Run GATE in a process of its own, and turn its death into a sentence.

Geant4 can end a process without a word (abort, segfault), and opengate allows one run per
process. So the parent writes a job file, starts `worker` with the environment that Geant4 needs,
streams its output to the log, and checks what it left.
"""

import dataclasses
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from numpy.typing import NDArray

from tubepet import io, layout
from tubepet.errors import InputError
from tubepet.logs import log
from tubepet.simulate import sources
from tubepet.simulate.coincidences import (
    DELAYED_TREE,
    NUM_TRUTHS,
    SCATTER_PROCESSES,
    TREE,
    add_missing_trees,
    crystal_of,
    drop_unreported,
    is_reported,
    read_coincidences,
    singles_facts,
    truth_facts,
)
from tubepet.simulate.fast import electronics, kernels, setup, transport
from tubepet.simulate.fast.electronics import Piece, Singles
from tubepet.simulate.geant4 import em_tables, physics
from tubepet.types import Scanner

SINGLES = "singles.root"  # or pulses, if the scanner has electronics
PART = "50 MB"  # of pulses, read at a time
LAST_LINES = 15  # of a dead child's output, shown in the error
ONE_THREAD = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}


def simulate(
    name: str,
    source: dict[str, Any],
    activity_bq: float,
    duration_s: float,
    scanner: Scanner,
    physics_list: str,
    g4data_facts: dict[str, Any],
    seed: int,
    coincidences_path: str | Path,
    *,
    particle: str,
    delay_ns: float,
    crystal_cut_mm: float = physics.CRYSTAL_CUT_MM,
    isotope: str = "F18",
    has_lutetium: bool = False,
) -> dict[str, Any]:
    """Simulate one acquisition and write its coincidences.

    Parameters
    ----------
    name : str
        What is simulated, for messages and statistics.
    source : dict
        From `tube_source`, `solid_source` or `calibration_source`.
    activity_bq, duration_s : float
        Total activity in Bq and duration in s; the number of decays is Poisson.
    scanner : Scanner
    physics_list : str
        Name of a Geant4 physics list.
    g4data_facts : dict
        From `tables.prepare`.
    seed : int
        Seed of Geant4's generator.
    coincidences_path : str or Path
        ROOT file to write, with the trees `Coincidences` and `Delayed`.
    particle : str
        ``back_to_back`` or ``e+``, see `tubepet.simulate.geant4.objects.shoot`.
    delay_ns : float
        Start of the delayed window, ns.
    crystal_cut_mm : float
        Production cut in the crystals, as a range.
    isotope : str
        Emitter of the positrons, see `sources.positron_kev`; nothing with ``back_to_back``.
    has_lutetium : bool
        Whether 176Lu decays in the crystals.

    Returns
    -------
    dict
        decays (of the source), lutetium_decays, singles, prompts, trues, scatters, randoms,
        intrinsic, delayed, and what made them.

    Raises
    ------
    InputError
        If the tables cannot be used, or GATE ended badly; names `name`, the seed, the exit
        status and the last lines of GATE's output.
    """
    start_s = time.monotonic()
    em_tables.check(g4data_facts, physics_list)
    positron_kev = sources.positron_kev(isotope).tolist() if particle == "e+" else []
    target = Path(coincidences_path)
    target.parent.mkdir(parents=True, exist_ok=True)
    log.info("%s: %.0f decays expected, seed %d", name, activity_bq * duration_s, seed)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as folder:
        job = {
            "folder": str(Path(folder).resolve()),
            "seed": seed,
            "physics_list": physics_list,
            "scanner": dataclasses.asdict(scanner),
            "source": source,
            "activity_bq": activity_bq,
            "duration_s": duration_s,
            "positron_kev": positron_kev,
            "delay_ns": delay_ns,
            "crystal_cut_mm": crystal_cut_mm,
            "has_lutetium": has_lutetium,
        }
        result = run_worker(name, job, em_tables.environment(g4data_facts["root"]))
        made = Path(folder) / "coincidences.root"
        found = None
        if scanner.has_electronics:
            pieces = _pulses(Path(folder) / SINGLES, scanner)
            found = transport.write(
                transport.paired(pieces, scanner, delay_ns, seed), scanner, made
            )
        is_written_by_gate = found is None and _has_tree(made, TREE)
        add_missing_trees(made)  # GATE writes none where there is no pair
        if found is None:
            drop_unreported(made, scanner, seed)
        num_delayed = _count_entries(made, DELAYED_TREE)
        events = read_coincidences(made, scanner)  # whole and readable, or it does not leave here
        singles = found.singles if found else _count_singles(Path(folder) / SINGLES, scanner, seed)
        with io.atomic(target) as part:
            made.rename(part)
    counts = np.bincount(events.truth, minlength=NUM_TRUTHS)
    written_by = "GATE" if is_written_by_gate else "tubepet (GATE had no coincidence)"
    if found:
        written_by = "tubepet (pulses by GATE)"
    stats = {
        "tube": name,
        "source": {k: v for k, v in source.items() if k not in ("labels", "activity")},
        "engine": "gate",
        "decays": result["decays"],
        "lutetium_decays": result["lutetium_decays"],
        **singles_facts(singles, scanner),
        **(electronics.facts(found.fates) if found else {}),
        **truth_facts(counts),
        "delayed": num_delayed,
        "delay_ns": delay_ns,
        "activity_bq": activity_bq,
        "duration_s": duration_s,
        "seed": seed,
        "physics_list": physics_list,
        "particle": particle,
        "isotope": isotope if particle == "e+" else None,
        "tables": g4data_facts["tables"],
        "tables_note": g4data_facts["note"],
        "tree_written_by": written_by,
        "versions": {**result["versions"], "xraylib": g4data_facts["xraylib_version"]},
        "wall_s": round(time.monotonic() - start_s, 2),
        "setup_s": round(result["setup_s"], 2),
        "cpu_s": round(result["cpu_s"], 2),
        "decays_per_cpu_s": round(result["decays"] / max(result["run_cpu_s"], 1e-3)),
        "peak_memory_mb": round(result["peak_memory_mb"]),
    }
    log.info(
        "%s: %d decays in, %d coincidences out (%d true, %d scatter, %d random, %d intrinsic), "
        "%.1f s",
        name, stats["decays"], stats["prompts"], *counts, stats["wall_s"],
    )  # fmt: skip
    return stats


def run_worker(
    name: str,
    job: dict[str, Any],
    environment: dict[str, str],
    module: str = "tubepet.simulate.geant4.worker",
) -> dict[str, Any]:
    """Run one worker (a module) to its end and return its ``result.json``.

    Raises
    ------
    InputError
        If the worker died; names `name`, the seed, the exit status and its last lines.
    """
    folder = Path(job["folder"])
    io.write_json(folder / "job.json", job)
    command = [sys.executable, "-m", module, str(folder / "job.json")]
    source_dir = str(Path(__file__).parents[3])
    python_path = os.pathsep.join(filter(None, [source_dir, os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": python_path, **environment}
    last_lines: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    ) as child:  # fmt: skip
        assert child.stdout is not None
        for line in child.stdout:
            last_lines.append(line.rstrip())
            log.info("gate: %s", line.rstrip())
    result_path = folder / "result.json"
    if child.returncode != 0 or not result_path.is_file():
        raise InputError(
            f"{name}: GATE (seed {job['seed']}) ended with {_exit_words(child.returncode)}, "
            "expected success; its last lines were:\n  " + "\n  ".join(last_lines or ["(none)"])
        )
    result: dict[str, Any] = io.read_json(result_path)
    return result


def _exit_words(status: int) -> str:
    if status < 0:
        return f"signal {-status} ({signal.Signals(-status).name})"
    return f"exit status {status}"


def _has_tree(path: Path, tree: str) -> bool:
    if not path.is_file():
        return False
    try:
        with uproot.open(path) as file:
            return tree in file.keys(cycle=False)
    except Exception as error:  # uproot raises many kinds on damaged bytes
        raise InputError(
            f"{path}: expected a whole ROOT file from GATE, got a damaged one (is the disk full?)"
        ) from error


def _count_singles(path: Path, scanner: Scanner, seed: int) -> NDArray[np.int64]:
    """Count the reported singles of every crystal, in pieces; none if GATE wrote no tree."""
    kept = layout.efficiencies(scanner)
    total = np.zeros(scanner.num_crystals, np.int64)
    if _has_tree(path, "Singles"):
        names = [f"PostPosition_{axis}" for axis in "XYZ"]
        columns = [*names, "EventID"]
        for part in uproot.iterate({path: "Singles"}, columns, step_size="50 MB", library="np"):
            crystals = crystal_of(scanner, *(part[name] for name in names))
            crystals = crystals[is_reported(seed, part["EventID"], crystals, kept)]
            total += np.bincount(crystals, minlength=len(total))
    return total


def _pulses(path: Path, scanner: Scanner) -> Iterator[Piece]:
    """Pulses of crystals in the order of decays, as the fast engine has them."""
    reals_of = ["GlobalTime", "TotalEnergyDeposit", *(f"EventPosition_{axis}" for axis in "XYZ")]
    counts_of = ["EventID", *(f"n_{process}" for process in SCATTER_PROCESSES)]
    places_of = [f"PostPosition_{axis}" for axis in "XYZ"]
    held, num_decays = Singles(np.empty((0, 5)), np.empty((0, 4), np.int64)), 0
    names = [*reals_of, *counts_of, *places_of]
    parts = uproot.iterate({path: "Readout"}, names, step_size=PART, library="np")
    for part in parts if _has_tree(path, "Readout") else ():
        reals = np.stack([part[name] for name in reals_of], axis=1)
        reals[:, kernels.ENERGY_KEV] *= 1e3
        event, *scatters = (part[name].astype(np.int64) for name in counts_of)
        crystal = crystal_of(scanner, *(part[name] for name in places_of))
        counts = np.stack([event, crystal, *scatters], axis=1)
        is_seen = reals[:, kernels.ENERGY_KEV] >= setup.LEAST_PULSE_KEV
        reals = np.concatenate([held.reals, reals[is_seen]])
        counts = np.concatenate([held.counts, counts[is_seen]])
        if not len(counts):
            continue
        # the last decay may go on in the next part, and no later one has begun before it
        num = int(np.searchsorted(counts[:, kernels.EVENT], counts[-1, kernels.EVENT]))
        held, num_decays = Singles(reals[num:], counts[num:]), int(counts[-1, kernels.EVENT])
        until_ns = float(held.reals[:, kernels.TIME_NS].min()) - transport.LATE_NS
        yield Piece(until_ns, num_decays, Singles(reals[:num], counts[:num]))
    yield Piece(math.inf, num_decays, held)


def _count_entries(path: Path, tree: str) -> int:
    if not _has_tree(path, tree):
        return 0
    with uproot.open(path) as file:
        return int(file[tree].num_entries)
