"""Print measurements as JSON lines, and append them to results.jsonl in this folder.

`make reference` runs this file: it writes docs/speed.md from the last line of each measurement.
"""

import json
import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from tubepet.plan.provenance import digest_behind

RESULTS = Path(__file__).parent / "results.jsonl"
VECTORS = {"avx512f": "AVX-512", "avx2": "AVX2"}  # the widest first
PAGE = Path(__file__).parents[1] / "docs/speed.md"
START = """# Speed

`make bench` measures, and `make reference` writes this page from `benchmarks/results.jsonl`. It
shows the last measurement of each kind. *Older* means that the code has changed since, or that the
line does not say of which code it is. Others often used the same machine, so ratios count.

| what | measured | asked | unit | peer | machine | commit | code |
|---|---|---|---|---|---|---|---|
"""


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
    script = Path(sys.argv[0]).resolve()
    line = json.dumps(
        {
            "name": name,
            "ratio": round(ratio, 4),
            "target": target,
            "unit": unit,
            "peer": peer,
            **{key: round(v, 4) if isinstance(v, float) else v for key, v in facts.items()},
            "machine": _machine(),
            "commit": _commit(),
            "script": script.name,
            "code": digest_behind(script),
        }
    )
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line)


def page(lines: list[dict[str, Any]]) -> str:
    """Return docs/speed.md: the last line of each measurement against each peer, by name.

    Parameters
    ----------
    lines : list of dict
        As `record` wrote them.
    """
    last = {(line["name"], line["peer"]): line for line in lines}
    rows = (
        f"| `{line['name']}` | {line['ratio']:.3g} | {line['target']:g} | {line['unit']} "
        f"| {line['peer']} | {line['machine']} | {line['commit']} | {_age(line)} |\n"
        for _, line in sorted(last.items())
    )
    return START + "".join(rows)


def _age(line: dict[str, Any]) -> str:
    """Say whether the code that a line is about is that of today."""
    script = RESULTS.parent / line.get("script", "")
    return "same" if script.is_file() and line["code"] == digest_behind(script) else "older"


def read_lines() -> list[dict[str, Any]]:
    """Return all measurements, the oldest first."""
    return [json.loads(line) for line in RESULTS.read_text(encoding="utf-8").splitlines()]


def children_cpu_s() -> float:
    """Return the CPU seconds of all ended child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _machine() -> str:
    """Return the processor, its widest vectors as far as Linux says, and the number of cores."""
    info = Path("/proc/cpuinfo")
    said = info.read_text(encoding="utf-8") if info.is_file() else ""
    lines = dict(re.findall(r"^(model name|flags)\s*: (.*)$", said, re.M))
    flags = lines.get("flags", "").split()
    vectors = [name for flag, name in VECTORS.items() if flag in flags][:1]
    names = [lines.get("model name") or platform.processor() or platform.machine(), *vectors]
    return f"{', '.join(names)}, {os.cpu_count()} cores"


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    found = subprocess.run(command, cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    PAGE.write_text(page(read_lines()), encoding="utf-8")
