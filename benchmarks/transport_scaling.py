"""Measure the fast engine: two threads against one, set-up, memory, time per decay.

Wall times are the best of alternating runs, as other programs may use the machine. Memory is that
of a process of its own with 10^8 decays.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from record import record
from transport import tube

from tubepet.simulate.fast import transport
from tubepet.types import Scanner

CONFIG = Path(__file__).parent.parent / "config" / "config.yaml"
ACTIVITY_BQ = 1e6
MANY = 100_000_000


def run(folder: Path, source: dict[str, object], decays: int, num_threads: int) -> dict[str, float]:
    """Simulate; return the statistics, and the wall time of the whole call in `call_s`."""
    scanner = Scanner(**yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["scanner"])
    start = time.perf_counter()
    stats = transport.simulate(
        "tube", source, ACTIVITY_BQ, decays / ACTIVITY_BQ, scanner, 1, num_threads,
        folder / "c.root", 500.0, "cpu",
    )  # fmt: skip
    return {**stats, "call_s": time.perf_counter() - start}


def memory_mb() -> float:
    """Return the peak memory of this process; that of getrusage may be its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = tube(1.0, folder)
        run(folder, source, 1000, 1)  # compile, or read the cache
        for decays in (100_000, 1_000_000, 10_000_000):
            stats = run(folder, source, decays, 1)
            print(f"{decays:>11,} decays: {1e9 / stats['decays_per_cpu_s']:.0f} ns CPU each")
        walls = {1: [], 2: []}
        for _ in range(4):
            for threads, times in walls.items():
                times.append(run(folder, source, 5_000_000, threads)["call_s"])
        child = [sys.executable, __file__, "--many", str(folder)]
        done = subprocess.run(child, check=True, capture_output=True, text=True)
        before_mb, after_mb, setup_s = map(float, done.stdout.splitlines()[-1].split())
        print(f"{MANY:,} decays: {after_mb:.0f} MB, of which the imports {before_mb:.0f} MB")
        print(f"set-up with a warm cache: {setup_s:.2f} s")
        peer, scaling = "itself", min(walls[1]) / min(walls[2])
        record("transport_setup", setup_s, 1.0, "s, warm cache (smaller is better)", peer)
        record("transport_memory", after_mb, 500, "MB at 1e8 decays (smaller is better)", peer)
        record("transport_scaling", scaling, 1.8, "times faster on two threads", "one thread")


def many(folder: Path) -> None:
    before_mb = memory_mb()
    source = tube(1.0, folder)
    setup_s = run(folder, source, 1000, 1)["call_s"]
    run(folder, source, MANY, 2)
    print(before_mb, memory_mb(), setup_s)


if __name__ == "__main__":
    many(Path(sys.argv[2])) if "--many" in sys.argv else main()
