"""Measure time and memory with which Snakemake plans a run of the paper's size.

A dry run builds the job graph of config/paper.yaml with 10,000 tubes and 150,000 CT slices. Limits
are 20 s, the wait that a user accepts at a prompt, and 1 GB. Half and twice the tubes show that
time is linear in shards. The result is CPU time, which is the wall time of an idle machine; actual
wall time and load are recorded beside it.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import children_cpu_s, record

ROOT = Path(__file__).parents[1]
LIMIT_S = 20.0
LIMIT_GB = 1.0
NUM_TUBES = (5_000, 10_000, 20_000)


def plan_s(num_tubes: int) -> tuple[float, float]:
    """Return CPU and wall seconds of one dry run."""
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "tubes.json"
        changed.write_text(json.dumps({"phantom": {"num_tubes": num_tubes}}))
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all"]
        command += ["--cores", "1", "--snakefile", str(ROOT / "Snakefile"), "--directory", folder]
        command += ["--configfile", str(ROOT / "config" / "paper.yaml"), str(changed)]
        start_cpu_s, start_s = children_cpu_s(), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return children_cpu_s() - start_cpu_s, time.perf_counter() - start_s


def main() -> None:
    seconds = {num: sorted(plan_s(num) for _ in range(3))[1] for num in NUM_TUBES}
    largest_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    for num, (cpu_s, wall_s) in seconds.items():
        print(f"{num} tubes: {cpu_s:.1f} CPU-s, {wall_s:.1f} s", file=sys.stderr)
    print(f"at most {largest_gb:.2f} GB, limit {LIMIT_GB:g} GB", file=sys.stderr)
    cpu_s, wall_s = seconds[10_000]
    record(
        name="dag", ratio=LIMIT_S / cpu_s, target=1.0,
        unit="limit / CPU seconds to plan paper.yaml with 10,000 tubes", peer=f"{LIMIT_S:g} s",
        cpu_s=cpu_s, cpu_s_5000_tubes=seconds[5_000][0], cpu_s_20000_tubes=seconds[20_000][0],
        wall_s=wall_s, memory_gb=largest_gb, load=os.getloadavg()[0],
    )  # fmt: skip


if __name__ == "__main__":
    main()
