"""Measure the CPU-seconds of one inspection of a 0.1 s acquisition, without set-up.

``python benchmarks/inspection.py [FOLDER]``: FOLDER has a calibration of the default config; it is
made if missing (default: build/inspection). The result is the median over clean parts of all
families, as in `snakemake pod`, simulated by the fast engine.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from record import record
from tqdm import tqdm

from tubepet.inspect.setup import FILES
from tubepet.pod import design, parts
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.types import Scanner

ROOT = Path(__file__).parents[1]
NUM_PARTS = 16
LIMIT_S = 5.0


def calibrated(folder: Path) -> dict[str, str]:
    """Let the workflow calibrate the default scanner; return the paths of what it made."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {key: f"results/reconstruct/{name}" for key, name in FILES.items()}
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", "2", *names.values()]
    subprocess.run(command, check=True, capture_output=True)
    return {key: str(folder / name) for key, name in names.items()}


def bench_of(config: dict[str, Any], files: dict[str, str]) -> parts.Bench:
    """Return the settings that the parts of `snakemake pod` share."""
    simulate, reconstruct = config["simulate"], config["reconstruct"]
    source = {
        "particle": simulate["source"],
        "has_lutetium": simulate["lutetium"],
        **{key: simulate[key] for key in ("isotope", "delay_ns", "device")},
    }
    return parts.Bench(
        scanner=Scanner(**config["scanner"]),
        files=files,
        phantom=config["phantom"],
        protocol={key: config["protocol"][key] for key in ("activity_bq", "per")},
        ranges_mm=config["phantom"]["defect_size_mm"],
        source=source,
        background=reconstruct["background"],
        stride=reconstruct["sensitivity_stride"],
        false_call_rate=config["inspect"]["false_call_rate"],
        seed=config["seed"],
    )


def main() -> None:
    use_threads(1)
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "inspection"
    duration_s = config["protocol"]["duration_s"]
    bench = bench_of(config, calibrated(folder))
    plan = design.planned(
        f"clean_0-{NUM_PARTS}", duration_s, duration_s, config["phantom"], config["seed"]
    )
    took_s, events = [], []
    for part in tqdm(plan, desc="parts", unit="part"):
        got = parts.acquired(part, bench)
        start_s = time.process_time()
        found = parts.inspected(part, got, bench)
        took_s.append(time.process_time() - start_s)
        events.append(len(found.fitted.rates))
    record(
        "inspection", statistics.median(took_s[1:]), LIMIT_S, "CPU-seconds per part, at most",
        "the limit that was asked for", largest_s=max(took_s[1:]),
        median_events=statistics.median(events[1:]), num_parts=NUM_PARTS,
    )  # fmt: skip


if __name__ == "__main__":
    main()
