"""Hash the results of a run; hashes are the same in every run of the same config."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tests.workflow.conftest import ROOT
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.types import Scanner

# Nothing in these is the same twice: seconds and memory of each job, and pages that show them.
TIMED = (
    "results/benchmarks/", "results/report.html", "results/report/cost", "results/report/counts",
    "results/report/facts.json", "results/report/provenance",
)  # fmt: skip
# Fields of results that read the clock or the machine.
CLOCKS = {
    "code", "cpu_s", "setup_s", "wall_s", "decays_per_cpu_s", "peak_memory_mb", "sha256", "seconds",
    "gate_cpu_s", "fast_cpu_s", "speed_up",
}  # fmt: skip


def content(folder: Path) -> dict[str, str]:
    """Hash of every result, by its path; clock readings, checkpoints and half files left out."""
    hashes = {}
    for path in sorted((folder / "results").rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_kept = not name.startswith(TIMED) and "checkpoint" not in name
        is_kept = is_kept and path.suffix != ".sha256"  # of tables, some of which hold seconds
        if path.is_file() and is_kept and "tensorboard" not in name and ".part-" not in name:
            hashes[name] = digest(path)
    return hashes


def digest(path: Path) -> str:
    """Hash of one result, without clock readings."""
    return hashlib.sha256(_bytes(path)).hexdigest()


def _bytes(path: Path) -> bytes:
    if path.suffix == ".root":  # ROOT files hold dates and identifiers
        section = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())["scanner"]
        lists = [read(path, Scanner(**section)) for read in (read_coincidences, read_delayed)]
        parts = [array.tobytes() for events in lists for array in vars(events).values()]
        return b"".join(parts)
    if path.suffix == ".json":
        return json.dumps(_without_clocks(json.loads(path.read_text())), sort_keys=True).encode()
    if path.name == "counts.csv":
        table = pd.read_csv(path)
        return table.drop(columns=[key for key in table if key in CLOCKS]).to_csv().encode()
    return path.read_bytes()


def _without_clocks(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _without_clocks(v) for k, v in data.items() if k not in CLOCKS}
    return [_without_clocks(v) for v in data] if isinstance(data, list) else data
