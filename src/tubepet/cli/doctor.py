"""`tubepet doctor` and `tubepet status`: what is installed, and how far a run has come."""

import base64
import json
import os
import platform
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from tubepet.bounds import read_yaml
from tubepet.cli.run import snakemake
from tubepet.errors import InputError

GB = 1e9
NEEDED_GB = 3.0  # memory of the largest job, and disk of the default run with its caches
STATES = ("done", "running", "outdated", "missing")
# Of `snakemake --summary`: states of files that do not exist, and reasons to make others again.
ABSENT = ("missing", "removed temp file", "file local to node", "pipe file", "service file")
REASONS = {
    "updated input files": "an input is newer (if all is a copy: snakemake --touch)",
    "rule implementation changed": "the rule changed",
    "set of input files changed": "their inputs are other files",
    "params changed": "config or code changed",
    "ok": "an input will be made again",
}
PACKAGES = ("snakemake", "torch", "numba", "opengate", "simpleitk", "pydicom")


@dataclass(frozen=True)
class Finding:
    """One check: what was found, and what that means. If `is_fatal`, nothing can run."""

    what: str
    found: str
    meaning: str
    is_good: bool
    is_fatal: bool = False


def _packages() -> Finding:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            "packages", f"without {', '.join(missing)}", "run `make install`", False, True
        )
    return Finding("packages", ", ".join(found), "the chain can run", True)


def _tables(official_dir: str) -> Finding:
    from tubepet.simulate.geant4 import em_tables

    try:
        is_official = em_tables.find_official("auto", official_dir) is not None
        found = "official" if is_official else "none"
        meaning = em_tables.sentence(official_dir)
    except InputError as error:
        return Finding("Geant4 tables", "wrong folder", str(error), False, True)
    return Finding("Geant4 tables", found, meaning, is_official)


def _gpu() -> Finding:
    from numba import cuda

    if cuda.is_available():
        name = cuda.get_current_device().name  # bytes from some drivers
        name = name.decode() if isinstance(name, bytes) else name
        return Finding("GPU", name, "the fast engine can use it (simulate.device)", True)
    return Finding("GPU", "none", "everything runs on the CPU; paper.yaml would take days", False)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    cores = len(os.sched_getaffinity(0))
    is_enough = total >= NEEDED_GB
    meaning = f"up to {NEEDED_GB:.0f} GB per job, a job per core"
    return Finding(
        "memory, cores", f"{total:.0f} GB, {cores} cores", meaning, is_enough, not is_enough
    )


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / GB
    is_enough = free >= NEEDED_GB and os.access(".", os.W_OK)
    meaning = f"the default run needs {NEEDED_GB:.0f} GB in a folder that can be written"
    return Finding("disk here", f"{free:.0f} GB free", meaning, is_enough, not is_enough)


def _ct(source_dir: str) -> Finding:
    if not source_dir:
        meaning = "a procedural stand-in is used, and the report says so"
        return Finding("DeepLesion", "ct.source_dir is empty", meaning, False)
    is_there = Path(source_dir).is_dir()
    meaning = "real CT for pretraining" if is_there else "no such folder: the run would stop"
    return Finding("DeepLesion", source_dir, meaning, is_there, not is_there)


def _programs() -> Finding:
    programs = ("chromium", "dciodvfy", "dcmdump")
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        meaning = "only tests of pages and DICOM files need them; they are skipped"
        return Finding("test programs", f"without {', '.join(missing)}", meaning, False)
    return Finding("test programs", ", ".join(programs), "no test of a page is skipped", True)


def examine(config: dict[str, Any]) -> list[Finding]:
    """Look for all programs and data that the workflow can use.

    Parameters
    ----------
    config : dict
        The user's config; only `ct.source_dir` and `simulate.g4_data_dir` are read.
    """
    is_new = sys.version_info >= (3, 11)
    python = Finding(
        "Python", platform.python_version(), "3.11 or newer is needed", is_new, not is_new
    )
    packages = _packages()
    if packages.is_fatal:
        return [python, packages]
    ct, simulate = config.get("ct") or {}, config.get("simulate") or {}
    return [
        python,
        packages,
        _tables(simulate.get("g4_data_dir", "")),
        _gpu(),
        _memory(),
        _disk(),
        _ct(ct.get("source_dir", "")),
        _programs(),
    ]


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("config/config.yaml"),
    show_default=True,
    help="Where ct.source_dir and simulate.g4_data_dir are read, if the file is there.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(config_path: Path, as_json: bool) -> None:
    """Say what is installed and what each absence means; exit code 1 if nothing can run."""
    config = read_yaml(config_path) if config_path.is_file() else {}
    if not isinstance(config, dict):
        raise InputError(f"{config_path}: expected sections of keys")
    findings = examine(config)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for one in findings:
            mark = "ok" if one.is_good else "!!" if one.is_fatal else "--"
            click.echo(f"{mark}  {one.what}: {one.found}\n    {one.meaning}")
    if any(finding.is_fatal for finding in findings):
        sys.exit(1)


def count_outputs(summary: str, incomplete: list[str]) -> dict[str, dict[str, Any]]:
    """Count the output files of every rule, and why files that exist are out of date.

    Parameters
    ----------
    summary : str
        Output of `snakemake --summary`: a table with tabs, a row per output file.
    incomplete : list of str
        Files that a job is writing, or was writing when it was killed.

    Returns
    -------
    dict
        For each rule, in the order of the table: number of files by `STATES`, and under `why`
        number of outdated files by reason.
    """
    lines = [line.split("\t") for line in summary.splitlines() if line.count("\t") >= 5]
    counts: dict[str, Counter[str]] = {}
    reasons: dict[str, Counter[str]] = {}
    for name, _, rule, *_, status, plan in lines[1:]:
        state = "running" if name in incomplete else _state(status, plan)
        counts.setdefault(rule, Counter())[state] += 1
        why = reasons.setdefault(rule, Counter())
        if state == "outdated":
            why[REASONS.get(status, status)] += 1
    return {
        rule: {state: count[state] for state in STATES} | {"why": dict(reasons[rule])}
        for rule, count in counts.items()
    }


def _state(status: str, plan: str) -> str:
    """Return the state of a file that no job is writing."""
    if plan == "no update":
        return "done"
    return "missing" if status in ABSENT else "outdated"


@click.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="Where the run is. Default: here.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("arguments", metavar="[SNAKEMAKE_ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
def status(directory: Path, as_json: bool, arguments: tuple[str, ...]) -> None:
    """Count the files of every rule: done, running, outdated, missing.

    Also while a run goes on. Give the same arguments as to snakemake or `tubepet run`, for instance
    --configfile config/smoke.yaml. Outdated files are there, but the next run makes them again; the
    last lines say why. What a killed run left unfinished counts as running until the next run
    begins.
    """
    command = snakemake(["--summary", "--directory", str(directory), *arguments])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise InputError(f"snakemake --summary: {reason}")
    marks = (directory / ".snakemake" / "incomplete").glob("*")
    incomplete = [base64.urlsafe_b64decode(m.name).decode() for m in marks if m.is_file()]
    counts = count_outputs(done.stdout, incomplete)
    if as_json:
        click.echo(json.dumps(counts, indent=2))
        return
    total = {state: sum(count[state] for count in counts.values()) for state in STATES}
    reasons = sum((Counter(count["why"]) for count in counts.values()), Counter())
    click.echo(f"{'files of rule':24} " + " ".join(f"{state:>8}" for state in STATES))
    for rule, count in [*reversed(counts.items()), ("all", total)]:
        click.echo(f"{rule:24} " + " ".join(f"{count[state]:8}" for state in STATES))
    for reason, num in reasons.most_common():
        click.echo(f"outdated: {num} files: {reason}")
