"""Run the fast engine: slices of time to singles, singles to coincidences, coincidences to ROOT.

The acquisition is cut into slices of `DECAYS_PER_SLICE` expected decays, each with its own random
stream; a batch of slices is held at a time, so memory does not grow with the number of decays.
"""

import math
import resource
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray

from tubepet import io, layout, rng
from tubepet.errors import InputError
from tubepet.logs import Bar, log
from tubepet.phantom import materials
from tubepet.simulate import sources
from tubepet.simulate.coincidences import (
    BRANCH_TYPES,
    DELAYED_TREE,
    INTRINSIC,
    NUM_TRUTHS,
    RANDOM,
    SCATTER,
    TREE,
    TRUE,
    branches,
    is_reported,
    singles_facts,
    truth_facts,
)
from tubepet.simulate.fast import cuda, electronics, kernels, lutetium, positrons, setup, tables
from tubepet.simulate.fast.electronics import Piece, Singles
from tubepet.types import Scanner

# A slice is one thread's work: few and long ones for a CPU, many and short ones for a GPU. The
# streams of random numbers go with the slices, so results depend on the kind of device.
DECAYS_PER_SLICE = {"cpu": 16384, "cuda": 64}
SLICES_PER_BATCH = {"cpu": 16, "cuda": 1 << 16}
MAX_DECAYS = 1e12  # a week of one core
LATE_NS = 10.0  # singles of a slice are seen later than its end by flight and blur, never by this
NOTE = (
    "Photons by tubepet's own transport with cross sections of xraylib; its agreement with GATE is "
    "measured by the rule validate_transport."
)


class Pairs(NamedTuple):
    """Pairs of singles, the earlier and the later of each."""

    first: Singles
    second: Singles


class Crystals(NamedTuple):
    """Lutetium's part of an acquisition: activity of all crystals, table, and seed."""

    activity_bq: float
    table: lutetium.Lutetium
    seed: int


# Decays of source and lutetium, and singles as in `Singles`, of a span of time.
Slice = tuple[int, int, NDArray[np.float64], NDArray[np.int64]]


class Batch(NamedTuple):
    """Decays of source and lutetium so far, new singles by crystal, new pairs of both windows."""

    num_decays: int
    num_lutetium: int
    singles: NDArray[np.int64]  # (num_crystals,)
    prompts: Pairs
    delayed: Pairs
    fates: NDArray[np.int64]  # of pulses, see `Piece`


class Counts(NamedTuple):
    """What was found in an acquisition: singles by crystal, prompts by truth, fates of pulses."""

    num_decays: int
    num_lutetium: int
    singles: NDArray[np.int64]
    truths: NDArray[np.int64]
    num_delayed: int
    fates: NDArray[np.int64]


def simulate(
    name: str,
    source: dict[str, Any],
    activity_bq: float,
    duration_s: float,
    scanner: Scanner,
    seed: int,
    num_threads: int,
    coincidences_path: str | Path,
    delay_ns: float,
    device: str,
    *,
    particle: str = "back_to_back",
    isotope: str = "F18",
    has_lutetium: bool = False,
) -> dict[str, Any]:
    """Simulate one acquisition and write its coincidences.

    Parameters
    ----------
    name : str
        What is simulated, for messages and statistics.
    source : dict
        From `sources.tube_source` or `calibration_source`.
    activity_bq, duration_s : float
        Total activity in Bq and duration in s; the number of decays is Poisson.
    scanner : Scanner
    seed : int
    num_threads : int
        The result does not depend on it.
    coincidences_path : str or Path
        ROOT file to write, with the trees `Coincidences` and `Delayed`.
    delay_ns : float
        Start of the delayed window, ns.
    device : str
        As `chosen_device`.
    particle, isotope : str
        As in `tubepet.simulate.geant4.gate.simulate`.
    has_lutetium : bool
        Whether 176Lu decays in the crystals.

    Returns
    -------
    dict
        The keys of `tubepet.simulate.geant4.gate.simulate`.

    Raises
    ------
    InputError
        If the source cannot be used, or would take more than `MAX_DECAYS` decays.
    """
    start_s, start_cpu_s = time.monotonic(), time.process_time()
    device = chosen_device(device)
    voxels = materials.of_labels(sources.fillings(source))
    photons = tables.photons(voxels)
    what = _source(source, scanner, photons)
    if particle == "e+":
        emitting = what[0]._replace(positrons=positrons.positrons(isotope, voxels))
        what = emitting, what[1]
    setup_s = time.monotonic() - start_s
    log.info("%s: %.0f decays expected, seed %d", name, activity_bq * duration_s, seed)
    run_cpu_s = time.process_time()
    found = batches(
        what, photons, activity_bq, duration_s, scanner, delay_ns, seed, num_threads, device,
        has_lutetium=has_lutetium,
    )  # fmt: skip
    num_decays, num_lutetium, singles, truths, num_delayed, fates = write(
        found, scanner, coincidences_path
    )
    stats = {
        "tube": name,
        "source": {k: v for k, v in source.items() if k not in ("labels", "activity")},
        "engine": "fast",
        "device": device,
        "decays": num_decays,
        "lutetium_decays": num_lutetium,
        **singles_facts(singles, scanner),
        **(electronics.facts(fates) if scanner.has_electronics else {}),
        **truth_facts(truths),
        "delayed": num_delayed,
        "delay_ns": delay_ns,
        "activity_bq": activity_bq,
        "duration_s": duration_s,
        "seed": seed,
        "physics_list": "none (tubepet's transport)",
        "particle": particle,
        "isotope": isotope if particle == "e+" else None,
        "tables": "xraylib",
        "tables_note": NOTE,
        "tree_written_by": "tubepet",
        "versions": {"numba": version("numba"), "xraylib": version("xraylib")},
        "wall_s": round(time.monotonic() - start_s, 2),
        "setup_s": round(setup_s, 2),
        "cpu_s": round(time.process_time() - start_cpu_s, 2),
        "decays_per_cpu_s": round(num_decays / max(time.process_time() - run_cpu_s, 1e-3)),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    log.info(
        "%s: %d decays in, %d coincidences out (%d true, %d scatter, %d random, %d intrinsic), "
        "%.1f s",
        name, num_decays, stats["prompts"], *truths, stats["wall_s"],
    )  # fmt: skip
    return stats


def write(found: Iterable[Batch], scanner: Scanner, path: str | Path) -> Counts:
    """Write coincidences as a ROOT file with the trees `Coincidences` and `Delayed`."""
    num_decays, num_lutetium, num_delayed = 0, 0, 0
    truths = np.zeros(NUM_TRUTHS, np.int64)
    singles, fates = np.zeros(scanner.num_crystals, np.int64), np.zeros(3, np.int64)
    kinds = {key: kind for q, kind in BRANCH_TYPES.items() for key in branches(q)}
    labels = _volume_ids(scanner)
    centres_mm = layout.table(scanner).centres_mm
    with io.atomic(path) as part, uproot.recreate(part, compression=None) as file:
        trees = [file.mktree(name, kinds) for name in (TREE, DELAYED_TREE)]
        for batch in found:
            num_decays, num_lutetium = batch.num_decays, batch.num_lutetium
            singles += batch.singles
            fates += batch.fates
            num_delayed += len(batch.delayed.first.counts)
            truths += np.bincount(_truth(batch.prompts), minlength=NUM_TRUTHS)
            for tree, pairs in zip(trees, (batch.prompts, batch.delayed), strict=True):
                if len(pairs.first.counts):
                    tree.extend(_columns(pairs, labels, centres_mm))
    return Counts(num_decays, num_lutetium, singles, truths, num_delayed, fates)


def batches(
    what: tuple[setup.Source, setup.Box],
    photons: tables.Photons,
    activity_bq: float,
    duration_s: float,
    scanner: Scanner,
    delay_ns: float,
    seed: int,
    num_threads: int,
    device: str,
    *,
    has_lutetium: bool = False,
) -> Iterator[Batch]:
    """Yield the acquisition in pieces; joined, they do not depend on the number of threads.

    `device` is "cpu" or "cuda"; lutetium is followed on the CPU in any case.

    Raises
    ------
    InputError
        If there would be more than `MAX_DECAYS` decays, or the coincidence window is not positive.
    """
    crystals_bq = lutetium.activity_bq(scanner) if has_lutetium else 0.0
    expected = (activity_bq + crystals_bq) * duration_s
    if not 0 <= expected <= MAX_DECAYS:
        raise InputError(
            f"protocol: got {activity_bq:.3g} Bq for {duration_s:.3g} s, which are {expected:.3g} "
            f"decays{' with lutetium' if has_lutetium else ''}, expected at most {MAX_DECAYS:.0e}"
        )
    if not scanner.coincidence_window_ns > 0:
        raise InputError(
            f"scanner.coincidence_window_ns: got {scanner.coincidence_window_ns}, expected > 0 ns"
        )
    if expected == 0:
        return
    fixed = setup.fixed(*what, scanner, photons)
    crystals = None
    if has_lutetium:
        lutetium_seed = rng.derived_seed(seed, "simulate", "lutetium")
        crystals = Crystals(crystals_bq, lutetium.table(), lutetium_seed)
    num_slices = math.ceil(expected / DECAYS_PER_SLICE[device])
    edges_ns = np.linspace(0, duration_s * 1e9, num_slices + 1)
    found = _followed(seed, edges_ns, float(activity_bq), fixed, crystals, num_threads, device)
    yield from paired(_pieces(found, edges_ns), scanner, delay_ns, seed)


def paired(
    pieces: Iterable[Piece], scanner: Scanner, delay_ns: float, seed: int
) -> Iterator[Batch]:
    """Sort singles into pairs, after the electronics if the scanner has any.

    Parameters
    ----------
    pieces : iterable of Piece
        Singles, or pulses if `scanner.has_electronics`; the last has `until_ns` infinite.
    scanner : Scanner
    delay_ns : float
    seed : int
        Of the electronics, and of which singles are reported.
    """
    if scanner.has_electronics:
        pieces = electronics.singles_of(pieces, scanner, setup.readout(scanner), seed)
    x_mm, y_mm, _ = layout.table(scanner).centres_mm.T
    kept = layout.efficiencies(scanner)
    held = Singles(np.empty((0, 5)), np.empty((0, 4), np.int64))
    for piece in pieces:
        new = piece.singles
        event, counted = new.counts[:, kernels.EVENT], new.counts[:, kernels.CRYSTAL_ID]
        is_kept = is_reported(seed, event, counted, kept)
        if not is_kept.all():
            new, counted = Singles(new.reals[is_kept], new.counts[is_kept]), counted[is_kept]
        singles = electronics.ordered(held, new)
        crystals = singles.counts[:, kernels.CRYSTAL_ID].copy()
        times_ns = singles.reals[:, kernels.TIME_NS].copy()
        # singles to come may still fall into the windows of the last
        last_ns = piece.until_ns - LATE_NS - delay_ns - scanner.coincidence_window_ns
        num_open = int(np.searchsorted(times_ns, last_ns))
        prompts, delayed = (
            kernels.pairs(
                times_ns, crystals, num_open, start_ns, float(scanner.coincidence_window_ns),
                scanner.min_transaxial_distance_mm**2, x_mm.copy(), y_mm.copy(),
            )
            for start_ns in (0.0, float(delay_ns))
        )  # fmt: skip
        held = Singles(singles.reals[num_open:], singles.counts[num_open:])
        yield Batch(
            piece.num_decays, piece.num_lutetium,
            np.bincount(counted, minlength=scanner.num_crystals),
            _picked(singles, prompts), _picked(singles, delayed), piece.fates,
        )  # fmt: skip


def chosen_device(wanted: str) -> str:
    """Return "cpu" or "cuda" for the config key `simulate.device`: auto, cpu or cuda.

    Raises
    ------
    InputError
        If a GPU is wanted and numba finds none.
    """
    if wanted == "cuda" and not cuda.is_available():
        raise InputError(
            "simulate.device: got cuda, expected cpu or auto, because numba finds no NVIDIA GPU"
        )
    return "cuda" if wanted == "cuda" or (wanted == "auto" and cuda.is_available()) else "cpu"


def _pieces(
    found: Iterable[tuple[int, int, int, NDArray[np.float64], NDArray[np.int64]]],
    edges_ns: NDArray[np.float64],
) -> Iterator[Piece]:
    """Yield what `_followed` found, events numbered through all of it."""
    num_decays, num_lutetium, num_slices = 0, 0, len(edges_ns) - 1
    with Bar(total=num_slices, unit="slice") as bar:
        for stop, decays, decays_of_lutetium, reals, counts in found:
            _renumber(counts, num_decays, num_lutetium)
            num_decays += decays
            num_lutetium += decays_of_lutetium
            bar.update(stop - bar.n)
            until_ns = float(edges_ns[stop]) if stop < num_slices else math.inf
            yield Piece(until_ns, num_decays, Singles(reals, counts), num_lutetium=num_lutetium)


def _followed(
    seed: int,
    edges_ns: NDArray[np.float64],
    activity_bq: float,
    fixed: tuple[Any, ...],
    crystals: Crystals | None,
    num_threads: int,
    device: str,
) -> Iterator[tuple[int, int, int, NDArray[np.float64], NDArray[np.int64]]]:
    """Yield batch after batch: end of its slices, decays of source and lutetium, and singles."""
    size = SLICES_PER_BATCH[device]
    borders = [edges_ns[i : i + size + 1] for i in range(0, len(edges_ns) - 1, size)]

    def follow(i: int) -> Slice:
        times_ns = float(edges_ns[i]), float(edges_ns[i + 1])
        found = kernels.decay_slice(seed, i, *times_ns, activity_bq, *fixed)
        return _with_lutetium(found, crystals, i, times_ns, fixed)

    with ThreadPoolExecutor(num_threads) as pool:
        # several threads follow the next batch while this one sorts and writes the last
        ahead = 1 if num_threads > 1 else 0
        pending: deque[tuple[int, Iterator[Slice]]] = deque()
        for i, edges in enumerate(borders):
            stop = i * size + len(edges) - 1
            if device == "cuda":
                found = cuda.singles(seed, i * size, edges, activity_bq, fixed)
                times_ns = float(edges[0]), float(edges[-1])
                yield stop, *_with_lutetium(found, crystals, i, times_ns, fixed)
                continue
            pending.append((stop, pool.map(follow, range(i * size, stop))))
            if len(pending) > ahead:
                stop, slices = pending.popleft()
                yield stop, *_joined(slices)
        for stop, slices in pending:
            yield stop, *_joined(slices)


def _with_lutetium(
    found: tuple[Any, ...],
    crystals: Crystals | None,
    stream: int,
    times_ns: tuple[float, float],
    fixed: tuple[Any, ...],
) -> Slice:
    """Add the decays in the crystals to what the source gave in a span of time."""
    num_decays, reals, counts = found
    if crystals is None:
        return num_decays, 0, reals, counts
    num_lutetium, *more = kernels.lutetium_slice(
        crystals.seed, stream, *times_ns, crystals.activity_bq, crystals.table, *fixed[1:]
    )
    reals, counts = np.concatenate([reals, more[0]]), np.concatenate([counts, more[1]])
    order = np.argsort(reals[:, kernels.TIME_NS], kind="stable")
    return num_decays, num_lutetium, reals[order], counts[order]


def _joined(slices: Iterable[Slice]) -> Slice:
    """Put singles of slices together, events numbered through all of them."""
    num_decays, num_lutetium, reals, counts = 0, 0, [], []
    for decays, decays_of_lutetium, slice_reals, slice_counts in slices:
        _renumber(slice_counts, num_decays, num_lutetium)
        num_decays += decays
        num_lutetium += decays_of_lutetium
        reals.append(slice_reals)
        counts.append(slice_counts)
    return num_decays, num_lutetium, np.concatenate(reals), np.concatenate(counts)


def _renumber(counts: NDArray[np.int64], num_decays: int, num_lutetium: int) -> None:
    """Let the events of singles follow those that were before, in place."""
    event = counts[:, kernels.EVENT]
    event += np.where(event < 0, -num_lutetium, num_decays)


def _picked(singles: Singles, pairs: NDArray[np.int64]) -> Pairs:
    """Return the singles of pairs of rows."""
    first, second = (Singles(singles.reals[rows], singles.counts[rows]) for rows in pairs.T)
    return Pairs(first, second)


def _source(
    source: dict[str, Any], scanner: Scanner, photons: tables.Photons
) -> tuple[setup.Source, setup.Box]:
    if source["kind"] == "cylinder":
        return setup.cylinder(source["radius_mm"], source["length_mm"], scanner, photons)
    labels, activity = io.read_volume(source["labels"]), io.read_volume(source["activity"])
    return setup.tube(labels, activity, scanner, photons)


def _truth(pairs: Pairs) -> NDArray[np.int64]:
    a, b = pairs.first.counts, pairs.second.counts
    scattered = (a[:, kernels.NUM_COMPTON :] + b[:, kernels.NUM_COMPTON :]).sum(axis=1) > 0
    is_random = a[:, kernels.EVENT] != b[:, kernels.EVENT]
    same = np.where(a[:, kernels.EVENT] < 0, INTRINSIC, np.where(scattered, SCATTER, TRUE))
    return np.where(is_random, RANDOM, same)


def _volume_ids(scanner: Scanner) -> ak.Array:
    """GATE's names of the crystals."""
    if not scanner.modules:
        ring, column = np.divmod(np.arange(scanner.num_crystals), scanner.num_columns)
        return ak.Array([f"crystal_rep_{r}-0_0_{c}_{r}" for r, c in zip(ring, column, strict=True)])
    return ak.Array([
        f"crystal_{k}_rep_{i}-0_{m}_{i}"
        for k, one in enumerate(layout.families(scanner))
        for m in range(one.around * len(one.z_mm))
        for i in range(one.num_per_module)
    ])  # fmt: skip


def _columns(pairs: Pairs, labels: ak.Array, centres_mm: NDArray[np.float64]) -> dict[str, Any]:
    """GATE's branches; energies in MeV as there."""
    data: dict[str, Any] = {}
    for i, singles in ((1, pairs.first), (2, pairs.second)):
        crystal = singles.counts[:, kernels.CRYSTAL_ID]
        # GATE counts in 32 bits too; numbers only tell decays apart that are close in time.
        # Those of lutetium come down from the largest.
        data[f"EventID{i}"] = (singles.counts[:, kernels.EVENT] & 0x7FFFFFFF).astype(np.int32)
        data[f"n_compt{i}"] = singles.counts[:, kernels.NUM_COMPTON].astype(np.int32)
        data[f"n_Rayl{i}"] = singles.counts[:, kernels.NUM_RAYLEIGH].astype(np.int32)
        data[f"GlobalTime{i}"] = singles.reals[:, kernels.TIME_NS]
        data[f"TotalEnergyDeposit{i}"] = singles.reals[:, kernels.ENERGY_KEV] * 1e-3
        data[f"PreStepUniqueVolumeID{i}"] = labels[crystal]
        for k, axis in enumerate("XYZ"):
            data[f"EventPosition{i}_{axis}"] = singles.reals[:, kernels.X_MM + k]
            data[f"PostPosition{i}_{axis}"] = centres_mm[crystal, k]
    return data
