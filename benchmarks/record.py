"""Print measurements as JSON lines, and append them to results.jsonl in this folder."""

import json
import os
import platform
import subprocess
from pathlib import Path

RESULTS = Path(__file__).parent / "results.jsonl"


def record(
    name: str, ratio: float, target: float, unit: str, peer: str, **facts: float | str
) -> None:
    """Print and keep one measurement.

    Parameters
    ----------
    name : str
        What was measured.
    ratio, target : float
        Measured and wanted value.
    unit : str
        Meaning and unit of the ratio.
    peer : str
        What it is compared with.
    facts : float or str
        More numbers of the measurement, with units in their names.
    """
    line = json.dumps(
        {
            "name": name,
            "ratio": round(ratio, 4),
            "target": target,
            "unit": unit,
            "peer": peer,
            **{key: round(v, 4) if isinstance(v, float) else v for key, v in facts.items()},
            "machine": f"{_cpu_model()}, {os.cpu_count()} cores",
            "commit": _commit(),
        }
    )
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
