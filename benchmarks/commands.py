"""How long commands take that people wait for: CPU-seconds, median of five, against what was asked.

``python benchmarks/commands.py [FOLDER]``: the folder of a finished default run (default: this
repository), whose surrogate makes the images. CPU-seconds, for others may use the machine.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from record import children_cpu_s, record

MODEL = "results/generate/surrogate"
LIMITS_S = {"--help": 0.5, "doctor": 3.0, "status": 3.0, "generate": 4.0}
NUM_TRIALS = 5


def cpu_s(command: list[str], folder: Path) -> float:
    """Run a command in a folder; return the CPU-seconds of it and its children."""
    before_s = children_cpu_s()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return children_cpu_s() - before_s


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    if not (folder / MODEL).is_dir():
        sys.exit(f"{folder / MODEL}: missing, expected a finished run (`make run`)")
    program = str(Path(sys.executable).with_name("tubepet"))
    for name, limit_s in LIMITS_S.items():
        took_s = []
        for _ in range(NUM_TRIALS):
            with tempfile.TemporaryDirectory() as out:
                given = ["--model", MODEL, "--n", "20", "--out", f"{out}/images"]
                command = [program, name, *(given if name == "generate" else [])]
                took_s.append(cpu_s(command, folder))
        record(
            f"command_{name.strip('-')}", median(took_s), limit_s,
            f"CPU-seconds of `tubepet {name}`, at most", "the limit that was asked for",
            slowest_s=max(took_s),
        )  # fmt: skip


if __name__ == "__main__":
    main()
