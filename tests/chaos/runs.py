"""Start runs of the smoke chain, find and kill their processes, and compare their results.

A job is a child process of Snakemake that runs a rule's script, or a fork of a child that has done
all imports (`tubepet.plan.forks`). It may have workers below it: the process of GATE, the Snakemake
of a shard and its jobs.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from tests.workflow.conftest import ROOT, SMOKE
from tests.workflow.content import content

SCRIPT = re.compile(r"\.snakemake/scripts/tmp\w+\.(\w+)\.py$")
FORKS = "tubepet.plan.forks"
POLL_S = 0.1
SNAKEMAKE_KILLS = ("kill -9 of Snakemake, its jobs go on", "kill -9 of Snakemake and its jobs",
                   "SIGTERM to Snakemake", "SIGINT to Snakemake")  # fmt: skip
JOB_KILLS = ("kill -9 of a job", "SIGTERM to a job", "kill -9 of a job's worker")


class LostError(Exception):
    """A fault after which a plain second run does not end in the right files."""


@dataclass(frozen=True)
class Fault:
    """One fault that was tried: what, where, and `survived`, `named` or the way it was lost."""

    kind: str
    where: str
    outcome: str


@dataclass
class Kills:
    """What is still to be killed, and what was.

    Attributes
    ----------
    rng : Generator
        Of all random moments.
    cpu_s : mapping
        CPU seconds of one job of each rule: a job is killed at a random moment of them.
    jobs : Counter
        Kills left by rule.
    num_snakemake : int
        Kills of Snakemake left.
    latest_s : float
        Snakemake is killed before it and its jobs have taken so many CPU seconds.
    done : list of (kind, where)
    """

    rng: np.random.Generator
    cpu_s: dict[str, float]
    jobs: Counter[str]
    num_snakemake: int
    latest_s: float = 8.0
    done: list[tuple[str, str]] = field(default_factory=list)

    def left(self) -> int:
        """Kills left in all."""
        return self.jobs.total() + self.num_snakemake


def start(folder: Path, log: Path, *arguments: str, root: Path = ROOT) -> subprocess.Popen[bytes]:
    """Start Snakemake of a checkout as a user does, as the head of a process group of its own."""
    smoke = root / SMOKE.relative_to(ROOT)
    configs = [] if "--configfile" in arguments else ["--configfile", str(smoke)]
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile")]
    command += ["--directory", str(folder), "--cores", "2", *arguments, *configs]
    with log.open("ab") as printed:
        return subprocess.Popen(
            command, cwd=root, stdout=printed, stderr=subprocess.STDOUT,
            start_new_session=True, env={**os.environ, "PYTHONPATH": str(root / "src")},
        )  # fmt: skip


def run(folder: Path, *arguments: str, root: Path = ROOT) -> tuple[int, str]:
    """Run Snakemake to its end, after `--unlock` where a killed one left its lock.

    Returns
    -------
    int, str
        Exit status, and all that was printed.
    """
    unlock(folder, root)
    log = folder.parent / f"{folder.name}.log"
    log.unlink(missing_ok=True)
    status = start(folder, log, *arguments, root=root).wait()
    return status, log.read_text(errors="replace")


def unlock(folder: Path, root: Path = ROOT) -> None:
    """Do what docs/cluster.md says after a kill of Snakemake."""
    locks = folder / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        log = folder.parent / f"{folder.name}.unlock.log"
        if start(folder, log, "--unlock", root=root).wait() != 0:
            raise LostError(f"--unlock failed: {log.read_text()[-500:]}")


def jobs_of(
    snakemake: psutil.Process, known: Container[psutil.Process]
) -> Iterator[tuple[str, psutil.Process]]:
    """Rule and process of each job at work that is not known yet."""
    for child in snakemake.children():
        words = child.cmdline()
        if FORKS in words:  # of a long name the system keeps the start
            scripts = [Path(word).stem for word in words]
            for job in child.children():
                names = [name for name in scripts if name.startswith(job.name())]
                if job not in known and len(names) == 1:
                    yield names[0], job
        elif child not in known and words and (found := SCRIPT.search(words[-1])):
            yield found.group(1), child


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process and of all below it."""
    tree = [process, *process.children(recursive=True)]
    return sum(p.cpu_times().user + p.cpu_times().system for p in tree if p.is_running())


def end_snakemake(kind: str, process: subprocess.Popen[bytes]) -> None:
    """End Snakemake in one of the ways of `SNAKEMAKE_KILLS`."""
    if kind == "kill -9 of Snakemake and its jobs":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        numbers = {"SIGTERM to Snakemake": signal.SIGTERM, "SIGINT to Snakemake": signal.SIGINT}
        process.send_signal(numbers.get(kind, signal.SIGKILL))


@dataclass
class Aim:
    """A job that is to be ended, and after how many CPU seconds."""

    rule: str
    job: psutil.Process
    kind: str
    at_s: float
    is_done: bool = False


def under_fire(folder: Path, kills: Kills, *arguments: str) -> bool:
    """Run Snakemake once and kill what is to be killed; True if nothing was and it ended well."""
    unlock(folder)
    log = folder.parent / f"{folder.name}.log"
    log.unlink(missing_ok=True)
    process = start(folder, log, *arguments)
    num_before = len(kills.done)
    aims: dict[psutil.Process, Aim] = {}
    moment_s = kills.rng.uniform(1, kills.latest_s) if kills.num_snakemake else np.inf
    while process.poll() is None:
        time.sleep(POLL_S)
        try:
            snakemake = psutil.Process(process.pid)
            for rule, job in jobs_of(snakemake, aims):
                aims[job] = _aim(rule, job, kills)
            for aim in aims.values():
                _shoot(aim, kills, folder)
            if cpu_s(snakemake) >= moment_s:
                kind = str(kills.rng.choice(SNAKEMAKE_KILLS))
                end_snakemake(kind, process)
                kills.num_snakemake -= 1
                kills.done.append((kind, f"after {moment_s:.1f} CPU s"))
                moment_s = np.inf
        except psutil.NoSuchProcess:
            continue  # it ended while it was looked at
    for aim in aims.values():  # who was faster than the moment is aimed at again
        kills.jobs[aim.rule] += aim.at_s < np.inf and not aim.is_done
    if len(kills.done) == num_before and process.returncode != 0:
        raise LostError(f"a plain run failed: {log.read_text(errors='replace')[-3000:]}")
    return len(kills.done) == num_before


def _aim(rule: str, job: psutil.Process, kills: Kills) -> Aim:
    if kills.jobs[rule] == 0:
        return Aim(rule, job, "", np.inf)  # it is left alone
    kills.jobs[rule] -= 1
    kind = str(kills.rng.choice(JOB_KILLS, p=[0.6, 0.2, 0.2]))
    return Aim(rule, job, kind, kills.rng.uniform(0, kills.cpu_s.get(rule, 1.0)))


def _shoot(aim: Aim, kills: Kills, folder: Path) -> None:
    if aim.is_done or aim.at_s == np.inf or not aim.job.is_running():
        return
    if cpu_s(aim.job) < aim.at_s:
        return
    workers = aim.job.children(recursive=True)
    if "worker" in aim.kind and not workers:
        aim.kind = JOB_KILLS[0]
    where = f"{aim.rule} after {aim.at_s:.1f} CPU s"
    where += ", after a checkpoint" * _has_checkpoint(folder, aim)
    for process in workers if "worker" in aim.kind else [aim.job, *workers]:
        process.send_signal(signal.SIGTERM if "SIGTERM" in aim.kind else signal.SIGKILL)
    aim.is_done = True
    kills.done.append((aim.kind, where))


def _has_checkpoint(folder: Path, aim: Aim) -> bool:
    """Whether a training has written a checkpoint since this one started."""
    if not aim.rule.startswith("train_"):
        return False
    found = (folder / "results").rglob("checkpoint*.pt")
    return any(path.stat().st_mtime > aim.job.create_time() for path in found)


def wait_for_orphans(folder: Path) -> int:
    """Wait for jobs whose Snakemake was killed; return how many there were."""
    orphans = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or [""]
        is_fork = FORKS in words and process.info["cwd"] == str(folder.resolve())
        if is_fork or (SCRIPT.search(words[-1]) and str(folder) in words[-1]):
            orphans.append(process)
    _, alive = psutil.wait_procs(orphans, timeout=600)
    if alive:
        raise LostError(f"orphans did not end in 600 s: {alive}")
    return len(orphans)


def check_same(folder: Path, expected: dict[str, str], is_alone: bool = True) -> None:
    """Raise `LostError` if results differ from those of an undisturbed run.

    With `is_alone` there may be no other files.
    """
    got = content(folder)
    names = got.keys() | expected if is_alone else expected
    wrong = sorted(name for name in names if got.get(name) != expected.get(name))
    if wrong:
        raise LostError(f"{len(wrong)} files differ: {' '.join(wrong[:5])}")


def cpu_of_rules(folder: Path) -> dict[str, float]:
    """CPU seconds of one job of each rule, from the benchmarks of a run."""
    found: dict[str, float] = {}
    for path in (folder / "results" / "benchmarks").rglob("*.tsv"):
        rule = path.relative_to(folder / "results" / "benchmarks").parts[0].removesuffix(".tsv")
        row = pd.read_csv(path, sep="\t", na_values="-").iloc[0]
        found[rule] = max(float(row["cpu_time"]) if row["cpu_time"] > 0 else 1.0, 0.5)
    return found
