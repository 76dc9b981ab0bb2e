"""How long Snakemake needs to plan the paper's scale, against a limit of 60 s.

The DAG of config/paper.yaml (500 tubes, 150,000 CT slices) is built by a dry run; the peer is
the wall time that a user accepts at a prompt.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record

ROOT = Path(__file__).parents[1]
LIMIT_S = 60.0


def main() -> None:
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all", "--cores", "1"]
    command += ["--snakefile", str(ROOT / "Snakefile")]
    command += ["--configfile", str(ROOT / "config" / "paper.yaml")]
    seconds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            start_s = time.perf_counter()
            subprocess.run([*command, "--directory", folder], check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start_s)
    median_s = sorted(seconds)[1]
    record(
        name="dag", ratio=LIMIT_S / median_s, target=1.0, unit="limit / seconds to plan paper.yaml",
        peer=f"{LIMIT_S:g} s limit",
    )  # fmt: skip


if __name__ == "__main__":
    main()
