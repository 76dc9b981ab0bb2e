"""Measure the overhead of Snakemake in a finished default run.

``python benchmarks/orchestration.py [FOLDER]``: FOLDER is a repository in which `snakemake` ran to
the end without a break (default: this one). The log has wall time and cores, benchmark files have
the seconds of jobs. The rest of the cores' time, idle or not, counts as overhead. Then the same
command runs again, with nothing to do. Limits: 10 % of the time, 3 s per job, 15 s to do nothing.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from record import children_cpu_s, record

LIMIT_SHARE = 0.1
LIMIT_JOB_S = 3.0
LIMIT_NOTHING_S = 15.0
LIMIT_RUN_MIN = 15.0  # with inspections and networks that enhance


def whole_run(folder: Path) -> tuple[float, int, int]:
    """Return wall seconds, cores and jobs of the last complete run."""
    for path in sorted(folder.glob(".snakemake/log/*.log"), reverse=True):
        text = path.read_text()
        done = re.search(r"(\d+) of \1 steps \(100%\) done", text)
        elapsed = re.search(r"Elapsed time: (\d+):(\d+):([\d.]+)", text)
        cores = re.search(r"Provided cores: (\d+)", text)
        if done and elapsed and cores and int(done[1]) > 1:
            hours, minutes, seconds = (float(number) for number in elapsed.groups())
            return 3600 * hours + 60 * minutes + seconds, int(cores[1]), int(done[1]) - 1
    sys.exit(f"{folder}: got no log of a finished run, expected one in .snakemake/log")


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    wall_s, num_cores, num_jobs = whole_run(folder)
    tables = [pd.read_csv(path, sep="\t") for path in folder.glob("results/benchmarks/**/*.tsv")]
    if len(tables) != num_jobs:
        sys.exit(f"{folder}: got {len(tables)} benchmark files, expected {num_jobs}, one per job")
    whole = pd.concat(tables)
    jobs_s = float(whole["s"].sum())
    rest_s = num_cores * wall_s - jobs_s
    start_s = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", "--cores", str(num_cores)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    nothing_s = time.perf_counter() - start_s
    if "Nothing to be done" not in done.stdout + done.stderr:
        sys.exit(f"{folder}: the second run had something to do: {done.stdout[-500:]}")
    facts = {
        "share": rest_s / (num_cores * wall_s),
        "overhead_s_per_job": rest_s / num_jobs,
        "nothing_cpu_s": children_cpu_s(),
        "nothing_wall_s": nothing_s,
        "wall_s": wall_s,
        "jobs_cpu_s": float(whole["cpu_time"].sum()),
        "jobs": num_jobs,
        "load": os.getloadavg()[0],
    }
    limits = {
        "share": LIMIT_SHARE,
        "overhead_s_per_job": LIMIT_JOB_S,
        "nothing_cpu_s": LIMIT_NOTHING_S,
    }
    record(
        name="orchestration", ratio=min(limit / facts[key] for key, limit in limits.items()),
        target=1.0, unit="smallest of limit / share, overhead per job, CPU seconds of a second run",
        peer="limits 0.1, 3 s, 15 s", **facts,
    )  # fmt: skip
    record(
        "default_run", wall_s / 60, LIMIT_RUN_MIN, f"minutes on {num_cores} cores, at most",
        "the limit that was asked for", jobs_core_s=jobs_s, jobs=num_jobs,
    )  # fmt: skip


if __name__ == "__main__":
    main()
