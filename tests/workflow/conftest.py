"""Run Snakemake as a user does, in folders of its own."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "config" / "smoke.yaml"


def snakemake(folder: Path, *arguments: str, cores: int = 2) -> subprocess.CompletedProcess[str]:
    """Run `snakemake` with the smoke config; stdout and stderr come together in `stdout`."""
    configs = [] if "--configfile" in arguments else ["--configfile", str(SMOKE)]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--cores", str(cores), *arguments, *configs]
    return subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=False,
    )  # fmt: skip


def planned(folder: Path, change: dict[str, object], *targets: str) -> Counter[str]:
    """Return how many jobs of each rule a dry run with a changed config plans."""
    changed = folder / "changed.yaml"
    changed.write_text(yaml.safe_dump(change))
    options = ("--dry-run", "--configfile", str(SMOKE), str(changed))
    done = snakemake(folder, *targets, *options)
    assert done.returncode == 0, done.stdout
    table = re.search(r"^job +count\n-+ +-+\n(.*?)\ntotal", done.stdout, re.M | re.S)
    lines = table.group(1).splitlines() if table else []
    return Counter({line.split()[0]: int(line.split()[1]) for line in lines})


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one undisturbed smoke run on two cores."""
    folder = tmp_path_factory.mktemp("smoke")
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout[-5000:]
    return folder
