"""Faults in which config or code change during a run, or results of older code are in the folder.

The results must be those of an undisturbed run of that config and code. The same must hold after
the change is taken back.
"""

import io
import shutil
import signal
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import yaml

from tests.chaos.places import again, copy, targets
from tests.chaos.runs import POLL_S, LostError, check_same, cpu_s, run, start
from tests.workflow.conftest import ROOT, SMOKE
from tests.workflow.content import content

STAGES = ["results/generate", "results/evaluate"]  # what both changes are about
CONFIG = {"generate": {"vae": {"num_steps": 25}}, "evaluate": {"num_bootstrap": 25}}
# Batches are drawn in another order, which each training and all that follows notices.
MODULE = "src/tubepet/generate/data.py"
EDIT = """

_take_in_order = take


def take(*arguments):
    drawn, left = _take_in_order(*arguments)
    return drawn.flip(0), left
"""
NUM_COMMITS = 100  # of which an older version is one


def config_of(first: bool) -> Callable[[Path], list[str]]:
    """Return what writes a run's config, the first or the changed one, and gives its options."""
    settings = yaml.safe_load(SMOKE.read_text())
    if not first:
        for section, keys in CONFIG.items():
            for key, value in keys.items():
                is_dict = isinstance(value, dict)
                settings[section][key] = {**settings[section][key], **value} if is_dict else value

    def write(folder: Path) -> list[str]:
        path = folder.with_name("config.yaml")
        path.write_text(yaml.safe_dump(settings))
        return ["--configfile", str(path)]

    return write


def copy_of_code(root: Path) -> Path:
    """Copy what a run reads of this checkout, with its times."""
    shutil.rmtree(root, ignore_errors=True)
    for name in ("config", "envs", "src", "workflow"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "Snakefile", root)
    return root


def edit(root: Path) -> None:
    """Change a module of the package in a copy of the code."""
    with (root / MODULE).open("a") as text:
        text.write(EDIT)


def take_back(root: Path) -> None:
    """Put the module back as it was; it is as new as any file that is written."""
    (root / MODULE).write_bytes((ROOT / MODULE).read_bytes())


def wait_cpu(process: subprocess.Popen[bytes], at_s: float) -> None:
    """Wait until Snakemake and its jobs have taken so many CPU seconds, or it has ended."""
    while process.poll() is None:
        try:
            if cpu_s(psutil.Process(process.pid)) >= at_s:
                return
        except psutil.NoSuchProcess:
            pass  # one below it ended while it was looked at
        time.sleep(POLL_S)


def config_changed(
    reference: Path, folder: Path, expected: dict[str, str], changed: dict[str, str],
    missing: list[str], at_s: float, is_stopped: bool,
) -> str:  # fmt: skip
    """Write another config while Snakemake runs, which may be stopped (SIGINT) for it."""
    copy(reference, folder, missing)
    options, log = config_of(first=True)(folder), folder.with_name("first.log")
    process = start(folder, log, *targets(missing), *options)
    wait_cpu(process, at_s)
    config_of(first=False)(folder)
    if is_stopped:
        process.send_signal(signal.SIGINT)
    if process.wait() != 0 and not is_stopped:
        raise LostError(f"the config of a run that went on was changed: {log.read_text()[-1500:]}")
    again(folder, changed, *targets(missing), *options)
    config_of(first=True)(folder)
    again(folder, expected, *targets(missing), *options)
    return "survived"


def code_changed(
    reference: Path, folder: Path, expected: dict[str, str], changed: dict[str, str],
    missing: list[str], moments_s: list[float],
) -> str:  # fmt: skip
    """Edit a module at the first moment; with a second one, take it back while Snakemake runs."""
    copy(reference, folder, missing)
    root, log = copy_of_code(folder.with_name("code")), folder.with_name("first.log")
    log.unlink(missing_ok=True)
    process = start(folder, log, *targets(missing), root=root)
    for moment_s, change in zip(moments_s, (edit, take_back), strict=False):
        wait_cpu(process, moment_s)
        change(root)
    if process.wait() != 0 and "changed after this run was planned" not in log.read_text():
        raise LostError(f"no word of the change: {log.read_text()[-1500:]}")
    if len(moments_s) == 1:
        again(folder, changed, *targets(missing), root=root)
        take_back(root)
    again(folder, expected, *targets(missing), root=root)
    return "survived"


def made_anew(
    reference: Path, folder: Path, options: list[str], root: Path = ROOT
) -> dict[str, str]:
    """Content of an undisturbed run after a change: the stages that it is about are made anew."""
    copy(reference, folder, STAGES)
    status, said = run(folder, *options, root=root)
    if status != 0:
        raise LostError(f"an undisturbed run of the change failed: {said[-3000:]}")
    made = content(folder)
    if made == content(reference):
        raise LostError("the change does not change anything")
    return made


def older_versions(rng: np.random.Generator, num: int) -> list[str]:
    """Choose some of the last commits of the package; none without a history."""
    command = ["git", "rev-list", f"--max-count={NUM_COMMITS}", "HEAD~1", "--", "src"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    commits = found.stdout.split()
    return [str(one) for one in rng.choice(commits, size=min(num, len(commits)), replace=False)]


def older_results(folder: Path, expected: dict[str, str], commit: str) -> str:
    """Run an older version to its end, or as far as it comes, then this one in the same folder."""
    root = folder.with_name("older")
    shutil.rmtree(root, ignore_errors=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(root, filter="data")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _, said = run(folder, root=root)
    if not content(folder):
        raise LostError(f"the older version made nothing: {said[-1500:]}")
    status, said = run(folder)
    if status != 0:
        raise LostError(f"a run over older results failed: {said[-3000:]}")
    check_same(folder, expected, is_alone=False)
    return "survived"
