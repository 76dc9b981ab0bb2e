"""Run Snakemake as a user does, in temporary folders."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "config" / "smoke.yaml"
SNAKEFILES = (ROOT / "Snakefile", *(ROOT / "workflow").glob("Snakefile"))
RULE_FILES = sorted((ROOT / "workflow/rules").glob("*.smk"))
RULE = re.compile(r"^(?:use )?rule (?:\w+ as )?(\w+)(?: with)?:\n(.*?)(?=^\S|\Z)", re.M | re.S)
RULES = {
    name: body
    for path in (*SNAKEFILES, *RULE_FILES)
    for name, body in RULE.findall(path.read_text())
}


def rules(*names: str) -> set[str]:
    """Return names of rules; a name that no rule has is an error of the test that gives it."""
    unknown = set(names) - RULES.keys()
    assert not unknown, f"no such rule: {', '.join(sorted(unknown))}"
    return set(names)


class Jobs(Counter[str]):
    """Numbers of jobs by rule."""

    def __missing__(self, rule: str) -> int:
        rules(rule)
        return 0


def command(folder: Path, *arguments: str, cores: int = 2) -> list[str]:
    """Return the command that runs the workflow in a folder; with the smoke config if none is."""
    configs = [] if "--configfile" in arguments else ["--configfile", str(SMOKE)]
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    return [*words, "--directory", str(folder), "--cores", str(cores), *arguments, *configs]


def environment() -> dict[str, str]:
    """Return the variables as they are now, with this checkout's package."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def snakemake(folder: Path, *arguments: str, cores: int = 2) -> subprocess.CompletedProcess[str]:
    """Run `snakemake`; stdout and stderr come together in `stdout`."""
    return subprocess.run(
        command(folder, *arguments, cores=cores), env=environment(), cwd=ROOT, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def start(folder: Path, *arguments: str, cores: int = 2) -> subprocess.Popen[bytes]:
    """Start `snakemake` as the head of a process group of its own."""
    return subprocess.Popen(
        command(folder, *arguments, cores=cores), env=environment(), cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def planned(folder: Path, change: dict[str, object], *targets: str) -> Jobs:
    """Return how many jobs of each rule a dry run with a changed config plans."""
    changed = folder / "changed.yaml"
    changed.write_text(yaml.safe_dump(change))
    options = ("--dry-run", "--configfile", str(SMOKE), str(changed))
    done = snakemake(folder, *targets, *options)
    assert done.returncode == 0, done.stdout
    table = re.search(r"^job +count\n-+ +-+\n(.*?)\ntotal", done.stdout, re.M | re.S)
    lines = table.group(1).splitlines() if table else []
    return Jobs({line.split()[0]: int(line.split()[1]) for line in lines})


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Return the folder of one undisturbed smoke run on two cores, to be read and copied only.

    The first worker that asks makes it, the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    folder, made = shared / "smoke", shared / "smoke.made"
    with FileLock(shared / "smoke.lock"):
        if not made.is_file():
            done = snakemake(folder)
            assert done.returncode == 0, done.stdout[-5000:]
            made.touch()
    return folder


@pytest.fixture
def copy(smoke: Path, tmp_path: Path) -> Path:
    """Return a copy of the smoke run for one test alone; there is nothing to do in it."""
    return shutil.copytree(smoke, tmp_path / "copy", symlinks=True)  # keeps times
