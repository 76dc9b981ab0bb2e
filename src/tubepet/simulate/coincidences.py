"""Read GATE's coincidence files (ROOT) into `Listmode`, and mend what GATE leaves out.

The tree `Coincidences` has GATE 10's branches, each quantity once for either photon (1 and 2). The
readout position is a crystal's centre and tells the crystal. The tree `Delayed` has the same
branches for the pairs of the delayed window, which estimate the randoms without the truth.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import uproot
from numpy.typing import NDArray
from scipy.spatial import KDTree

from tubepet import checksums, layout, rng, root_file
from tubepet.errors import InputError
from tubepet.types import Listmode, Scanner

Array = NDArray[np.float64]

SCATTER_PROCESSES = ("compt", "Rayl")  # Geant4's names

TREE, DELAYED_TREE = "Coincidences", "Delayed"
TRUE, SCATTER, RANDOM, INTRINSIC = 0, 1, 2, 3
NUM_TRUTHS = 4
# GATE's branches, each with a 1 and a 2 after the name (before the axis).
BRANCH_TYPES = {
    "EventID": "int32",
    **{f"n_{process}": "int32" for process in SCATTER_PROCESSES},
    "GlobalTime": "float64",
    "TotalEnergyDeposit": "float64",
    "EventPosition": "float64",
    "PostPosition": "float64",
    "PreStepUniqueVolumeID": "string",
}
COUNTS = [
    "tube", "decays", "singles", "prompts", "trues", "scatters", "randoms", "intrinsic", "delayed"
]  # fmt: skip


def branches(*quantities: str) -> list[str]:
    """Return the branch names of quantities, for instance ``PostPosition1_X``."""
    names = []
    for quantity in quantities:
        axes = ("_X", "_Y", "_Z") if quantity.endswith("Position") else ("",)
        names += [f"{quantity}{i}{axis}" for i in (1, 2) for axis in axes]
    return names


def read_delayed(path: str | Path, scanner: Scanner) -> Listmode:
    """Read the pairs of the delayed window; see `read_coincidences`."""
    return read_coincidences(path, scanner, DELAYED_TREE)


def read_coincidences(path: str | Path, scanner: Scanner, tree: str = TREE) -> Listmode:
    """Read the coincidences of one simulation.

    Parameters
    ----------
    path : str or Path
        ROOT file with the tree `Coincidences`.
    scanner : Scanner
        The scanner that was simulated.
    tree : str
        `TREE` or `DELAYED_TREE`.

    Returns
    -------
    Listmode
        Empty if the tree is. truth: 0 true, 1 scattered in the object, 2 random (two decays),
        3 intrinsic (one decay in a crystal).

    Raises
    ------
    InputError
        If the file is cut or damaged, lacks the tree or a branch, or comes from another scanner.
    """
    counters = [f"n_{process}" for process in SCATTER_PROCESSES]
    born = [f"EventPosition1_{axis}" for axis in "XY"]
    names = branches("PostPosition", "EventID", "GlobalTime", *counters)
    data = read_branches(path, [*names, *born], tree)
    try:
        crystal1, crystal2 = (
            crystal_of(scanner, *(data[f"PostPosition{i}_{axis}"] for axis in "XYZ"))
            for i in (1, 2)
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    is_scattered = sum(data[name] for name in branches(*counters)) > 0
    is_random = data["EventID1"] != data["EventID2"]
    is_intrinsic = np.hypot(*(data[name] for name in born)) >= layout.bore_mm(scanner)
    same = np.where(is_intrinsic, INTRINSIC, np.where(is_scattered, SCATTER, TRUE))
    truth = np.where(is_random, RANDOM, same).astype(np.uint8)
    time_ns = data["GlobalTime1"], data["GlobalTime2"]
    if not (np.isfinite(time_ns[0]).all() and np.isfinite(time_ns[1]).all()):
        raise InputError(f"{path}: got NaN or infinite times (GlobalTime1, 2), expected ns")
    return Listmode(crystal1, crystal2, time_ns[1] - time_ns[0], truth, time_ns[0] * 1e-9)


def read_branches(
    path: str | Path, names: list[str], tree_name: str = TREE
) -> dict[str, NDArray[Any]]:
    """Read branches of a tree of coincidences; GATE's units (mm, ns, MeV).

    Raises
    ------
    InputError
        If the file is cut or damaged, or lacks the tree or a branch.
    """
    checksums.check(path)
    with root_file.opened(path, f"a whole ROOT file with the tree {tree_name}") as file:
        if file.file.fEND > Path(path).stat().st_size:
            raise InputError(f"{path}: expected {file.file.fEND} bytes, got a file cut short")
        check_names(path, "trees", file.keys(cycle=False), [tree_name])
        tree = file[tree_name]
        check_names(path, f"branches of {tree_name}", tree.keys(), names)
        data: dict[str, NDArray[Any]] = tree.arrays(names, library="np")
        num_entries = tree.num_entries
    if any(len(values) != num_entries for values in data.values()):
        raise InputError(f"{path}: expected {num_entries} entries in each branch of {tree_name}")
    return data


def check_names(path: str | Path, kind: str, found: list[str], needed: list[str]) -> None:
    """Refuse a file without the trees or branches that are needed; say what it has."""
    missing = [name for name in needed if name not in found]
    if missing:
        raise InputError(
            f"{path}: got the {kind} {', '.join(sorted(found)) or '(none)'}, expected also "
            f"{', '.join(missing)}"
        )


def truth_facts(truth: NDArray[np.integer]) -> dict[str, int]:
    """Return the counts of coincidences in ``stats.json``, from the number of each truth code."""
    return {
        "prompts": int(truth.sum()),
        "trues": int(truth[TRUE]),
        "scatters": int(truth[SCATTER]),
        "randoms": int(truth[RANDOM]),
        "intrinsic": int(truth[INTRINSIC]),
    }


def singles_facts(singles: NDArray[np.integer], scanner: Scanner) -> dict[str, Any]:
    """Return what ``stats.json`` keeps of the singles in the energy window, counted by crystal."""
    if scanner.modules:
        module = layout.table(scanner).module
        by_module = np.bincount(module, singles).astype(np.int64)
        return {"singles": int(singles.sum()), "singles_by_module": by_module.tolist()}
    table = singles.reshape(scanner.num_rings, scanner.num_columns)
    return {
        "singles": int(table.sum()),
        "singles_by_ring": table.sum(axis=1).tolist(),
        "singles_by_column": table.sum(axis=0).tolist(),
    }


def drop_unreported(path: str | Path, scanner: Scanner, seed: int) -> None:
    """Remove coincidences from a file unless `is_reported` keeps both of their singles."""
    kept = layout.efficiencies(scanner)
    if (kept == 1).all():
        return

    def is_whole(part: dict[str, Any]) -> NDArray[np.bool_]:
        is_kept = np.ones(len(part["EventID1"]), bool)
        for i in (1, 2):
            places = (np.asarray(part[f"PostPosition{i}_{axis}"]) for axis in "XYZ")
            crystal = crystal_of(scanner, *places)
            is_kept &= is_reported(seed, np.asarray(part[f"EventID{i}"]), crystal, kept)
        return is_kept

    whole = Path(path)
    left = whole.with_name(f"left-{whole.name}")
    _rewrite(whole, left, is_whole)
    left.replace(whole)


def write_empty(path: str | Path) -> None:
    """Write a file whose trees `Coincidences` and `Delayed` have no entries."""
    _rewrite(None, path)


def add_missing_trees(path: str | Path) -> None:
    """Add the trees `Coincidences` and `Delayed`, without entries, where they are missing."""
    whole = Path(path)
    if not whole.is_file():
        write_empty(whole)
        return
    with uproot.open(whole) as file:
        is_whole = {TREE, DELAYED_TREE} <= set(file.keys(cycle=False))
    if not is_whole:  # GATE's files cannot be extended in place
        part = whole.with_name(f"whole-{whole.name}")
        _rewrite(whole, part)
        part.replace(whole)


def _rewrite(
    source: Path | None,
    target: str | Path,
    is_wanted: Callable[[Any], NDArray[np.bool_]] | None = None,
) -> None:
    """Write both trees, filled from `source` where it has them, in bounded memory."""
    types = {name: kind for key, kind in BRANCH_TYPES.items() for name in branches(key)}
    with uproot.recreate(target) as file:
        for tree in (TREE, DELAYED_TREE):
            file.mktree(tree, types)
        if source is None:
            return
        with uproot.open(source) as old:
            for tree in {TREE, DELAYED_TREE} & set(old.keys(cycle=False)):
                for part in old[tree].iterate(list(types), step_size="50 MB"):
                    rows = slice(None) if is_wanted is None else is_wanted(part)
                    file[tree].extend({name: part[name][rows] for name in types})


def crystal_of(
    scanner: Scanner,
    x_mm: NDArray[np.float64],
    y_mm: NDArray[np.float64],
    z_mm: NDArray[np.float64],
) -> NDArray[np.int32]:
    """Return the crystals at readout positions, by their ids (`tubepet.types`, `layout`).

    Parameters
    ----------
    scanner : Scanner
    x_mm, y_mm, z_mm : float64 array, shape (n,)

    Returns
    -------
    int32 array, shape (n,)

    Raises
    ------
    InputError
        If a position is not the centre of a crystal.
    """
    crystal, off_mm = (_module_crystal if scanner.modules else _ring_crystal)(
        scanner, x_mm, y_mm, z_mm
    )
    is_outside = off_mm > 0.01
    if is_outside.any():
        raise InputError(
            f"got {int(is_outside.sum())} readout positions that are no crystal centres, "
            "expected coincidences of the configured scanner (section scanner)"
        )
    return crystal


def _ring_crystal(
    scanner: Scanner, x_mm: Array, y_mm: Array, z_mm: Array
) -> tuple[NDArray[np.int32], Array]:
    """Nearest crystal of a ring, and how far its centre is, along radius and axis (mm)."""
    turns = np.arctan2(y_mm, x_mm) / (2 * np.pi)
    column_place = turns * scanner.num_columns
    column = np.rint(column_place).astype(np.int32)
    ring_place = z_mm / scanner.axial_pitch_mm + (scanner.num_rings - 1) / 2
    ring = np.rint(ring_place).astype(np.int32)
    radius_mm = scanner.inner_radius_mm + scanner.crystal_depth_mm / 2
    pitch_mm = 2 * np.pi * radius_mm / scanner.num_columns
    off_mm = (
        np.abs(np.hypot(x_mm, y_mm) - radius_mm)
        + pitch_mm * np.abs(column_place - column)
        + scanner.axial_pitch_mm * np.abs(ring_place - ring)
    )
    off_mm[(ring < 0) | (ring >= scanner.num_rings)] = np.inf
    num_columns = np.int32(scanner.num_columns)
    return ring * num_columns + column % num_columns, off_mm


def _module_crystal(
    scanner: Scanner, x_mm: Array, y_mm: Array, z_mm: Array
) -> tuple[NDArray[np.int32], Array]:
    """Nearest crystal of modules, and how far its centre is (mm)."""
    tree = KDTree(layout.table(scanner).centres_mm)
    places_mm = np.nan_to_num(np.stack([x_mm, y_mm, z_mm], axis=1), nan=1e9)
    off_mm, crystal = tree.query(places_mm)
    return crystal.astype(np.int32), off_mm


def is_reported(
    seed: int, event: NDArray[Any], crystal: NDArray[Any], efficiency: Array
) -> NDArray[np.bool_]:
    """Draw which singles are kept; a single is kept in all of its pairs or in none.

    Parameters
    ----------
    seed : int
        Of the simulation.
    event, crystal : int array, shape (n,)
        Decay and crystal of every single.
    efficiency : float64 array, shape (num_crystals,)
        `layout.efficiencies`.

    Returns
    -------
    bool array, shape (n,)
    """
    chance = efficiency[crystal]
    if (efficiency == 1).all():
        return chance == 1
    key = np.uint64(rng.derived_seed(seed, "simulate", "efficiency"))
    # random numbers from decay and crystal, in any order: SplitMix64's finaliser (Steele et al.
    # 2014), twice
    word = _mixed(event.astype(np.uint64) + (key << np.uint64(32)))
    word = _mixed(word ^ crystal.astype(np.uint64))
    return (word >> np.uint64(11)) * 2.0**-53 < chance


def _mixed(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    word = word + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def count_table(stats: list[dict[str, Any]]) -> pd.DataFrame:
    """Gather counts and derived shares.

    Parameters
    ----------
    stats : list of dict
        ``stats.json`` of every tube.

    Returns
    -------
    DataFrame
        `COUNTS`, sensitivity (prompts / decays), scatter_fraction (scatters / (trues + scatters))
        and seconds (wall time); a share without counts is empty (NaN).
    """
    table = pd.DataFrame(stats, columns=[*COUNTS, "wall_s"])
    decays = table["decays"].replace(0, np.nan)
    same_decay = (table["trues"] + table["scatters"]).replace(0, np.nan)
    table["sensitivity"] = (table["prompts"] / decays).round(4)
    table["scatter_fraction"] = (table["scatters"] / same_decay).round(4)
    return table.rename(columns={"wall_s": "seconds"})
