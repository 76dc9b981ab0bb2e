"""Read coincidences of other programs as pairs of crystals of a calibrated scanner.

An inspection needs this (`tubepet inspect`). Crystals of a PETSIRD file and ends of lines become
the nearest crystals of the config's scanner.
"""

from pathlib import Path

import numpy as np

from tubepet.errors import InputError
from tubepet.formats import castor, content, gate, petsird, tables
from tubepet.formats.facts import Facts, check_pairs
from tubepet.formats.placing import nearest
from tubepet.logs import log
from tubepet.reconstruct.scanner import crystals
from tubepet.types import Listmode, Scanner


def read_measured(path: Path, scanner: Scanner) -> tuple[Listmode, Listmode | None, Facts]:
    """Read prompts, delayed pairs if the file has them, and facts of the acquisition.

    Parameters
    ----------
    path : Path
        ROOT (GATE 9 or 10), CASToR's header, PETSIRD, or a table of lines, told by its content.
    scanner : Scanner

    Returns
    -------
    prompts : Listmode
    delayed : Listmode or None
        None: unknown (no tree of delayed pairs, a PETSIRD file without them, other formats).
    facts : Facts

    Raises
    ------
    InputError
        If the file is damaged, empty or of another scanner.
    """
    ring, kind = crystals.of_scanner(scanner), content.kind_of(path)
    delayed: Listmode | None = None
    facts = Facts()
    if kind == "petsird":
        prompts, delayed, facts = _of_petsird(path, ring)
    elif kind == "table":
        prompts = _of_lines(path, ring)
    elif kind == "castor":
        prompts, facts = castor.read_castor(path, len(ring)), castor.read_facts(path)
    else:
        prompts = gate.read_gate(path, ring)
        if gate.has_delayed(path):
            delayed = gate.read_gate(path, ring, is_delayed=True)
    check_pairs(path, facts, ring.points_mm[:, 2])
    if facts.calibration_factor != 1:
        log.warning("%s: its calibration factor is left out, the calibration's is used", path)
    if len(prompts) == 0:
        raise InputError(f"{path}: got no coincidences, expected at least one")
    return prompts, delayed, facts


def _of_petsird(path: Path, ring: crystals.Crystals) -> tuple[Listmode, Listmode | None, Facts]:
    own, prompts, delayed, facts = petsird.read_petsird(path)
    crystal = nearest(path, own.points_mm, ring, are_ends=True)
    if len(np.unique(crystal)) < len(own) or (crystal < 0).any():
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
    crystal = nearest(path, ends_mm.reshape(-1, 3), ring, are_ends=True).reshape(-1, 2)
    num = len(crystal)
    events = Listmode(crystal[:, 0], crystal[:, 1], np.zeros(num), np.zeros(num, np.uint8), time_s)
    return events.at((crystal[:, 0] >= 0) & (crystal[:, 1] >= 0))
