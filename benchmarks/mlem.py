"""Compare one list-mode MLEM iteration with parallelproj, and measure its cost with many events.

The set-up is usual in such comparisons: 184 x 64 crystals, radius 125 mm, pitch 4 mm; image 128 x
128 x 64 of 1.5 x 1.5 x 2 mm; 3e5 events of a warm cylinder with two hot spheres, sorted by
direction; position by time of flight with a sigma of 19.1 mm. The peers are two builds of
libparallelproj 2:

    cmake -S libparallelproj -B build -DCMAKE_BUILD_TYPE=Release
    ... the same with -DCMAKE_CXX_FLAGS="-march=native -ffast-math"

The environment variables TUBEPET_PARALLELPROJ_PLAIN and TUBEPET_PARALLELPROJ name their paths. A
third build, with -march=x86-64-v3 (TUBEPET_PARALLELPROJ_V3), is for processors with AVX2 and no
more: a process of its own compares it with our kernels compiled for the same. A missing peer is
reported and left out. Times are CPU time per line over two threads, medians of interleaved runs.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from record import record

from tubepet.errors import InputError
from tubepet.reconstruct.projection import kernels, parallelproj
from tubepet.reconstruct.projection.lines import TOF_REACH_SIGMAS, Lines, tof_table
from tubepet.types import Grid

NUM_LINES, NUM_REPEATS = 300_000, 7
MANY_LINES, MANY_REPEATS = 10_000_000, 3
BATCH = 1_000_000  # lines drawn at once
NUM_COLUMNS, NUM_RINGS, RADIUS_MM, PITCH_MM = 184, 64, 125.0, 4.0
SIGMA_MM = 19.1
ADDITIVE = 0.01
NATIVE, PLAIN = "-march=native -ffast-math", "plain Release build"
AVX2 = "-march=x86-64-v3 -ffast-math, ours for x86-64-v3 too"
PEERS = {NATIVE: "TUBEPET_PARALLELPROJ", PLAIN: "TUBEPET_PARALLELPROJ_PLAIN"}
AVX2_PEERS = {AVX2: "TUBEPET_PARALLELPROJ_V3"}
FOR_AVX2 = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": ""}
TARGETS = {
    "mlem": {NATIVE: 4.0, PLAIN: 5.0, AVX2: 4.0},
    "mlem_tof": {NATIVE: 6.0, PLAIN: 8.0, AVX2: 6.0},
}
GRID = Grid.centred((64, 128, 128), (2.0, 1.5, 1.5))


def scanner_points() -> np.ndarray:
    """Return the crystal centres, shape (64 * 184, 3), mm."""
    angle = 2 * np.pi * np.arange(NUM_COLUMNS) / NUM_COLUMNS
    points = np.empty((NUM_RINGS, NUM_COLUMNS, 3))
    points[..., 0], points[..., 1] = RADIUS_MM * np.cos(angle), RADIUS_MM * np.sin(angle)
    points[..., 2] = ((np.arange(NUM_RINGS) - (NUM_RINGS - 1) / 2) * PITCH_MM)[:, None]
    return points.reshape(-1, 3)


def decays(num: int, rng: np.random.Generator) -> np.ndarray:
    """Draw decays (num, 3), mm: in a cylinder of radius 60 mm, a fifth in two spheres of 8 mm."""
    r, phi = 60 * np.sqrt(rng.uniform(size=num)), rng.uniform(0, 2 * np.pi, num)
    places = np.stack([r * np.cos(phi), r * np.sin(phi), rng.uniform(-50, 50, num)], axis=1)
    hot = np.flatnonzero(rng.uniform(size=num) < 0.2)
    way = rng.normal(size=(len(hot), 3))
    way *= (8 * rng.uniform(size=len(hot)) ** (1 / 3) / np.linalg.norm(way, axis=1))[:, None]
    places[hot] = way + np.where(rng.uniform(size=len(hot)) < 0.5, 30.0, -30.0)[:, None] * [1, 0, 0]
    return places


def drawn(num_lines: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return both columns, both rings (num_lines,) and decays (num_lines, 3) of detected pairs."""
    places = decays(12 * num_lines, rng)
    cosine = rng.uniform(-1, 1, len(places))
    azimuth = rng.uniform(0, 2 * np.pi, len(places))
    sine = np.sqrt(1 - cosine**2)
    way = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], axis=1)
    along = (places[:, :2] * way[:, :2]).sum(axis=1)
    root = np.sqrt(along**2 + sine**2 * (RADIUS_MM**2 - (places[:, :2] ** 2).sum(axis=1)))
    columns, rings, is_seen = [], [], np.ones(len(places), bool)
    for distance in ((-along + root) / sine**2, (-along - root) / sine**2):
        end = places + distance[:, None] * way
        turn = np.arctan2(end[:, 1], end[:, 0]) / (2 * np.pi)
        columns.append(np.rint(turn * NUM_COLUMNS).astype(int) % NUM_COLUMNS)
        ring = np.rint(end[:, 2] / PITCH_MM + (NUM_RINGS - 1) / 2)
        is_seen &= (ring >= 0) & (ring < NUM_RINGS)
        rings.append(np.clip(ring, 0, NUM_RINGS - 1).astype(int))
    seen = np.flatnonzero(is_seen)[:num_lines]
    assert len(seen) == num_lines
    return *(one[seen] for one in (*columns, *rings)), places[seen]


def measured_lines(num_lines: int, rng: np.random.Generator) -> Lines:
    """Return straight lines from decays to crystals, sorted by direction, with positions."""
    sizes = [min(BATCH, num_lines - start) for start in range(0, num_lines, BATCH)]
    batches = zip(*(drawn(num, rng) for num in sizes), strict=True)
    column1, column2, ring1, ring2, places = (np.concatenate(batch) for batch in batches)
    order = np.lexsort([column2, column1])
    first, second = (
        (ring * NUM_COLUMNS + column)[order].astype(np.int32)
        for ring, column in ((ring1, column1), (ring2, column2))
    )
    points = scanner_points()
    middle, line = (points[first] + points[second]) / 2, points[second] - points[first]
    tof_mm = ((places[order] - middle) * line).sum(axis=1) / np.linalg.norm(line, axis=1)
    tof_mm += rng.normal(0, SIGMA_MM, num_lines)
    additive = np.full(num_lines, ADDITIVE)
    return Lines(GRID, points, first, second, additive, tof_mm.astype(np.float32))


def cpu_us(task: Callable[[], object], num_lines: int) -> float:
    """Return the CPU time per line, microseconds."""
    start = time.process_time()
    task()
    return (time.process_time() - start) * 1e6 / num_lines


def medians(*tasks: Callable[[], object], num_lines: int) -> list[float]:
    """Return the median CPU time per line of each of some tasks that run in turn."""
    is_many = num_lines == MANY_LINES
    for task in () if is_many else tasks:
        task()
    num_repeats = MANY_REPEATS if is_many else NUM_REPEATS
    times = [[cpu_us(task, num_lines) for task in tasks] for _ in range(num_repeats)]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def loaded(peers: dict[str, str]) -> dict[str, object]:
    """Load the builds of parallelproj that exist."""
    found = {}
    for name, variable in peers.items():
        try:
            found[name] = parallelproj.load(os.environ.get(variable) or "not set")
        except InputError as error:
            print(f"parallelproj, {name}: left out ({error}; variable {variable})")
    return found


def against_parallelproj(lines: Lines, activity: np.ndarray, found: dict[str, object]) -> None:
    """Time one iteration, without and with time of flight, against builds of the peer."""
    prepared = parallelproj.prepare(GRID, lines.points, lines.first, lines.second)
    moved = np.ascontiguousarray(activity.transpose(2, 1, 0), np.float32)
    is_many = len(lines) == MANY_LINES
    for name, targets in TARGETS.items():
        is_tof = name == "mlem_tof"
        own, theirs = lines, ()
        if is_tof:
            own = replace(lines, tof_table=tof_table(SIGMA_MM))
            theirs = parallelproj.tof_arguments(lines.tof_mm, SIGMA_MM, TOF_REACH_SIGMAS)
        for peer, library in found.items():

            def fused(own: Lines = own) -> np.ndarray:
                return own.em_sums(activity)[0]

            def separate(library: object = library, theirs: tuple = theirs) -> np.ndarray:
                sums = parallelproj.joseph_forward(library, moved, prepared, theirs)
                return parallelproj.joseph_back(
                    library, 1 / (sums + np.float32(ADDITIVE)), prepared, theirs
                )

            ours, others = medians(fused, separate, num_lines=len(lines))
            if not (is_tof or is_many):
                expected = parallelproj.joseph_forward(library, moved, prepared)
                error = own.forward(activity) - expected
                nrmse = float(np.sqrt((error**2).mean() / (expected**2).mean()))
                # rounding decides along which axis either follows lines of exactly 45 degrees
                median = np.median(np.abs(error / expected.mean()))
                print(f"line integrals: NRMSE {nrmse:.1e}, median error {median:.1e}")
            print(f"{name}: {ours:.3f} us CPU per line, parallelproj, {peer}: {others:.3f}")
            unit = "times less CPU per line and iteration"
            events = f"{len(lines):.0e} events".replace("e+0", "e")
            peer_name = f"libparallelproj 2, {peer}" + (f", {events}" if is_many else "")
            record(name, others / ours, targets[peer], unit, peer_name, events=events)


def with_many_events(activity: np.ndarray) -> None:
    """Measure cost per line, and memory, at 1e5 to 1e7 events."""
    lines = measured_lines(100_000, np.random.default_rng(3))
    costs = {}
    for num in (100_000, 1_000_000, 10_000_000):
        rows = np.sort(np.random.default_rng(4).integers(0, 100_000, num))
        first, second = lines.first[rows], lines.second[rows]
        many = Lines(GRID, lines.points, first, second, np.full(num, ADDITIVE))
        tracemalloc.start()
        costs[num] = cpu_us(lambda many=many: many.em_sums(activity), num)
        peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        event_mb = (first.nbytes + second.nbytes + many.additive.nbytes) / 1e6
        print(
            f"{num} events: {costs[num]:.3f} us CPU per line, {peak_mb:.0f} MB + {event_mb:.0f} MB"
        )
        if num == 10_000_000:
            record(
                "mlem_memory", 1500 / (peak_mb + event_mb), 1.0, "of 1.5 GB, 1e7 events", "limit"
            )
    ratio = costs[1_000_000] / costs[10_000_000]
    record("mlem_linear", ratio, 0.9, "cost per line at 1e6 over 1e7 events", "itself")


def warm_activity() -> np.ndarray:
    """Return an image with a dark rim: see `parallelproj` on lines that pass closely."""
    activity = np.zeros(GRID.shape)
    inner = (slice(2, -2),) * 3
    activity[inner] = np.random.default_rng(2).uniform(0.5, 1.5, activity[inner].shape)
    return activity


def main() -> None:
    kernels.use_threads(2)
    activity = warm_activity()
    is_for_avx2 = os.environ.get("NUMBA_CPU_NAME") == FOR_AVX2["NUMBA_CPU_NAME"]
    found = loaded(AVX2_PEERS if is_for_avx2 else PEERS)
    against_parallelproj(measured_lines(NUM_LINES, np.random.default_rng(1)), activity, found)
    if one := {name: peer for name, peer in found.items() if name != PLAIN}:
        against_parallelproj(measured_lines(MANY_LINES, np.random.default_rng(5)), activity, one)
    if not is_for_avx2:
        with tempfile.TemporaryDirectory() as cache:
            others = os.environ | FOR_AVX2 | {"NUMBA_CACHE_DIR": cache}
            subprocess.run([sys.executable, __file__], env=others, check=True)
        with_many_events(activity)


if __name__ == "__main__":
    main()
