"""How long and with how much memory Snakemake plans the paper's scale: limits 20 s and 1 GB.

The DAG of config/paper.yaml with 10,000 tubes and 150,000 CT slices is built by a dry run; the peer
is the wait that a user accepts at a prompt. Printed beside it: the same with half and twice the
tubes, which shows that time is linear in shards.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record

ROOT = Path(__file__).parents[1]
LIMIT_S = 20.0
LIMIT_GB = 1.0
NUM_TUBES = (5_000, 10_000, 20_000)


def plan_s(num_tubes: int) -> float:
    """Seconds of one dry run."""
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / "tubes.json"
        changed.write_text(json.dumps({"phantom": {"num_tubes": num_tubes}}))
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all"]
        command += ["--cores", "1", "--snakefile", str(ROOT / "Snakefile"), "--directory", folder]
        command += ["--configfile", str(ROOT / "config" / "paper.yaml"), str(changed)]
        start_s = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start_s


def main() -> None:
    seconds = {num: sorted(plan_s(num) for _ in range(3))[1] for num in NUM_TUBES}
    largest_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    for num, second in seconds.items():
        print(f"{num} tubes: {second:.1f} s", file=sys.stderr)
    print(f"at most {largest_gb:.2f} GB, limit {LIMIT_GB:g} GB", file=sys.stderr)
    record(
        name="dag", ratio=LIMIT_S / seconds[10_000], target=1.0,
        unit="limit / seconds to plan paper.yaml with 10,000 tubes", peer=f"{LIMIT_S:g} s limit",
    )  # fmt: skip


if __name__ == "__main__":
    main()
