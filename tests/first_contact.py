"""Run every command of README and documents in a fresh clone, as a new user would.

    make first-contact

The script clones the repository, installs it as `make` does, and runs `make smoke`. Then it runs
the commands of each page on a fresh copy of that smoke run. Commands that take too long run in a
short form (`SMOKE_FORM`) or are listed as not run (`NOT_RUN`). It needs only Python, git and make.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests import documents
from tests.documents import ROOT, Step

NOT_RUN = {
    "make run": "takes long; `make smoke` is its smoke form",
    "make test": "what the continuous integration runs in a fresh clone",
    "make bench": "measures for hours",
    "make smoke": "done at the start",
}
SMOKE_FORM = (
    (r"^(snakemake .*config/paper\.yaml)( -n)?$", r"\1 -n"),
    (r"^snakemake --cores 4\b(?!.*--configfile)",
     "snakemake --configfile config/smoke.yaml --directory results_smoke --cores 4"),
    (r"tube_0003", "tube_0001"),  # the smoke run has two tubes
    # the smoke run's image is too short to inspect in, and it trains no network: see the tutorials
    (r"^(tubepet (?:inspect|plan|enhance)) .*", r"\1 --help"),
    (r"--duration-s 10 --frame-s 0\.1", "--duration-s 0.1 --frame-s 0.05"),
)  # fmt: skip
# What the commands call by plain names, from the smoke run and its tutorials.
FILES = {
    "coincidences.root": "results/simulate/tube_0001/coincidences.root",
    "calibration.json": "results/reconstruct/calibration.json",
    "resolution.json": "results/reconstruct/resolution.json",
    "mu.nii.gz": "results/phantom/tube_0001/mu.nii.gz",
}
KEPT = ("results", "lines.csv", "crystals.csv")  # from page to page; the rest is cleaned away


def commands(step: Step) -> list[tuple[str, str]]:
    """Return what is run of a block, beside what it is in the document."""
    if step.commands.strip() in NOT_RUN:
        return [(step.commands.strip(), "")]
    if step.printed is not None or "<<" in step.commands:
        return [(step.commands, step.commands)]
    found = []
    for line in documents.lines(step.commands):
        short = line
        for pattern, replacement in SMOKE_FORM:
            short = re.sub(pattern, replacement, short)
        found.append((line, short))
    return found


def main() -> int:
    """Run everything; print a line per command; return how many failed."""
    folder = Path(tempfile.mkdtemp(prefix="first-contact-")) / "tubepet"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    path = f"{folder}/.venv/bin:{os.environ['PATH']}"
    # a reader's `make` is started by no other `make`, which would make it say where it is
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        os.environ.pop(name, None)
    num_failed = 0

    def run(step: Step, told: str) -> None:
        nonlocal num_failed
        start = time.monotonic()
        try:
            documents.run(step, folder, path)
            state = "ok"
        except AssertionError as error:
            num_failed, state = num_failed + 1, f"FAILED\n{error}"
        print(f"{time.monotonic() - start:6.1f} s  {told}: {state}", flush=True)

    start = documents.steps(ROOT / "docs/index.md")[0]
    assert start.commands == "make smoke\n"
    run(start, "docs/index.md: make smoke (and installation)")
    smoke, kept = folder / "results_smoke", folder.parent / "kept"
    shutil.copytree(smoke, kept, symlinks=True)
    (folder / "results").symlink_to("results_smoke/results")
    pages = sorted(documents.PAGES, key=lambda page: "tutorials" not in page.parts)
    for page in pages:
        name = str(page.relative_to(ROOT))
        for step in documents.steps(page):
            for target, source in FILES.items():
                (folder / target).unlink(missing_ok=True)
                (folder / target).symlink_to(source)
            for written, run_as in commands(step):
                first = written.splitlines()[0]
                if written in NOT_RUN:
                    print(f"  not run  {name}: {first}: {NOT_RUN[written]}")
                    continue
                form = "" if written == run_as else f" (as: {run_as})"
                run(Step(page, run_as, step.printed), f"{name}: {first}{form}")
        clean = ["git", "clean", "-fdq", *(word for name in KEPT for word in ("-e", name))]
        subprocess.run(clean, cwd=folder, check=True)
        shutil.rmtree(smoke)
        shutil.copytree(kept, smoke, symlinks=True)
    if num_failed:
        print(f"{num_failed} failed; the clone is {folder}")
    else:
        print("all commands work")
        shutil.rmtree(folder.parent)
    return num_failed


if __name__ == "__main__":
    sys.exit(min(main(), 1))
