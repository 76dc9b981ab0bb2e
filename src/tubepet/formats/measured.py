"""Coincidences of other programs, given to the crystals of a scanner that is calibrated.

What needs the calibration of a scanner (`tubepet inspect`) reads any file of coincidences so:
crystals of a PETSIRD file and ends of lines become the nearest crystals of the config's scanner.
"""

from pathlib import Path

import numpy as np

from tubepet.errors import InputError
from tubepet.formats import castor, gate, petsird, tables
from tubepet.formats.facts import Facts, check_pairs
from tubepet.formats.gate import MAX_DISTANCE_MM, nearest
from tubepet.logs import log
from tubepet.reconstruct.scanner import crystals
from tubepet.simulate.coincidences import DELAYED_TREE
from tubepet.types import Listmode, Scanner


def read_measured(path: Path, scanner: Scanner) -> tuple[Listmode, Listmode | None, Facts]:
    """Read prompts, delayed pairs where the file has any place for them, and what it says.

    Parameters
    ----------
    path : Path
        .root (GATE 9 or 10), .cdh (CASToR), .petsird, or a table of lines (.csv, .parquet).
    scanner : Scanner

    Returns
    -------
    prompts : Listmode
    delayed : Listmode or None
        None: not known (no tree `Delayed`, a PETSIRD file without delayed pairs, other formats).
    facts : Facts

    Raises
    ------
    InputError
        If the file is damaged, empty or of another scanner.
    """
    ring, suffix = crystals.of_scanner(scanner), path.suffix.lower()
    delayed: Listmode | None = None
    facts = Facts()
    if petsird.is_petsird(path):
        prompts, delayed, facts = _of_petsird(path, ring)
    elif suffix in (".csv", ".parquet"):
        prompts = _of_lines(path, ring)
    elif castor.is_header(path):
        prompts, facts = castor.read_castor(path, len(ring)), castor.read_facts(path)
    else:
        prompts = gate.read_gate(path, ring.points_mm)
        if DELAYED_TREE in gate.trees(path):
            delayed = gate.read_gate(path, ring.points_mm, DELAYED_TREE)
    check_pairs(path, facts, ring.points_mm[:, 2])
    if facts.calibration_factor != 1:
        log.warning("%s: its calibration factor is left out, the calibration's is used", path)
    if len(prompts) == 0:
        raise InputError(f"{path}: got no coincidences, expected at least one")
    return prompts, delayed, facts


def _of_petsird(path: Path, ring: crystals.Crystals) -> tuple[Listmode, Listmode | None, Facts]:
    own, prompts, delayed, facts = petsird.read_petsird(path)
    crystal = nearest(path, own.points_mm, ring.points_mm, MAX_DISTANCE_MM)
    if len(np.unique(crystal)) < len(own):
        raise InputError(
            f"{path}: got {len(own)} crystals that are not those of --scanner, expected the "
            "scanner of the file"
        )
    found = [_renamed(events, crystal) for events in (prompts, delayed)]
    if (own.efficiency != 1).any():
        log.warning("%s: its efficiencies are left out, the calibration's are used", path)
    return found[0], found[1] if len(delayed) else None, facts


def _renamed(events: Listmode, crystal: np.ndarray) -> Listmode:
    return Listmode(
        crystal[events.crystal1], crystal[events.crystal2], events.time_difference_ns,
        events.truth, events.time_s,
    )  # fmt: skip


def _of_lines(path: Path, ring: crystals.Crystals) -> Listmode:
    ends_mm, time_s = tables.read_lines(path)
    first, second = (nearest(path, ends_mm[:, i], ring.points_mm, MAX_DISTANCE_MM) for i in (0, 1))
    num = len(first)
    return Listmode(first, second, np.zeros(num), np.zeros(num, np.uint8), time_s)
