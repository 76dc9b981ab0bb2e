"""Read coincidences of GATE 9 and GATE 10 for any scanner: each single goes to the nearest crystal.

GATE 10 (as `tubepet.simulate.coincidences`) writes PostPosition1_X in mm and GlobalTime1 in ns; its
sorter in Python writes PostPosition_X1. GATE 9 writes globalPosX1 in mm and time1 in s. Its ids
(crystalID1 and others) depend on the kind of system and are not used. Sources: opengate 10.1, and
its file actors/coincidences.py; GATE 9 documentation, "Data output", section on ROOT, and
"Digitizer", whose examples call trees finalCoinc and delay.
"""

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tubepet import root_file
from tubepet.errors import InputError
from tubepet.formats.placing import nearest
from tubepet.logs import log
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.simulate.coincidences import DELAYED_TREE, TREE, branches, check_names, read_branches
from tubepet.types import Listmode

NS_PER_S = 1e9
GATE10 = [*branches("PostPosition"), *branches("GlobalTime")]
SORTER = [*(f"PostPosition_{axis}{i}" for i in (1, 2) for axis in "XYZ"), *branches("GlobalTime")]
GATE9 = [*(f"globalPos{axis}{i}" for i in (1, 2) for axis in "XYZ"), "time1", "time2"]
# By preference. A chain of GATE 9, finalCoinc, may hold delayed pairs beside the prompts.
PROMPT_TREES = (TREE, "coincidences", "finalCoinc")
DELAYED_TREES = (DELAYED_TREE, "delayed", "delay", "delayedCoincidences")


def read_gate(path: str | Path, crystals: Crystals, is_delayed: bool = False) -> Listmode:
    """Read coincidences and give each single to the nearest crystal.

    Parameters
    ----------
    crystals : Crystals
        The rows are the ids of the result.
    is_delayed : bool
        Whether to read the pairs of the delayed window.

    Returns
    -------
    Listmode
        Its truth is 0 everywhere: unknown. Coincidences with a single far from all crystals are
        left out.

    Raises
    ------
    InputError
        If trees or branches are missing, times or positions are not finite, or singles are of
        another scanner.
    """
    tree = _tree(path, DELAYED_TREES if is_delayed else PROMPT_TREES)
    found = _branch_names(path, tree)
    names = next((names for names in (GATE10, SORTER, GATE9) if set(names) <= found), None)
    if names is None:
        raise InputError(
            f"{path}: tree {tree} has the branches {', '.join(sorted(found)) or 'none'}; expected "
            "GATE 10's (PostPosition1_X or PostPosition_X1, ..., GlobalTime1) or GATE 9's "
            "(globalPosX1, ..., time1)"
        )
    data = read_branches(path, names, tree)
    columns = np.array([np.asarray(data[name], np.float64) for name in names])
    if not np.isfinite(columns).all():
        bad = [name for name in names if not np.isfinite(data[name]).all()]
        raise InputError(f"{path}: got NaN or infinite values in {', '.join(bad)}")
    num = columns.shape[1]
    ends_mm = np.concatenate([columns[0:3], columns[3:6]], axis=1).T
    crystal1, crystal2 = nearest(path, ends_mm, crystals).reshape(2, num)
    scale = NS_PER_S if names is GATE9 else 1.0
    difference_ns, time_s = (columns[7] - columns[6]) * scale, columns[6] * scale / NS_PER_S
    events = Listmode(crystal1, crystal2, difference_ns, np.zeros(num, np.uint8), time_s)
    return events.at((crystal1 >= 0) & (crystal2 >= 0))


def has_delayed(path: str | Path) -> bool:
    """Whether a ROOT file has a tree of delayed pairs."""
    return any(PurePosixPath(name).name in DELAYED_TREES for name in _trees(path))


def _tree(path: str | Path, names: tuple[str, ...]) -> str:
    """Return the tree with the first of these names, in any folder of the file."""
    found = _trees(path)
    for name in names:
        of_name = [tree for tree in found if PurePosixPath(tree).name == name]
        if len(of_name) > 1:
            raise InputError(f"{path}: got the trees {', '.join(of_name)}, expected one {name}")
        if of_name:
            if name == "finalCoinc":
                log.warning("%s: the chain finalCoinc is read, with all pairs in it", path)
            return of_name[0]
    check_names(path, "trees", found, [names[0]])
    raise AssertionError(names)


def _trees(path: str | Path) -> list[str]:
    """Return the names of all trees, those in folders too."""
    with root_file.opened(path) as file:
        kinds = file.classnames(cycle=False)
    return sorted(name for name, kind in kinds.items() if "Tree" in kind or "Tuple" in kind)


def _branch_names(path: str | Path, tree: str) -> set[str]:
    with root_file.opened(path, f"a whole ROOT file with the tree {tree}") as file:
        branches_of: Any = file[tree]
        return set(branches_of.keys())
