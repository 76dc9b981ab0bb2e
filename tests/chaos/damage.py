"""Faults in which files between stages are cut short, emptied, or have one bit flipped.

The job that reads a damaged file must stop with a sentence that names it, or have right results all
the same. One run tests many files: all are damaged at once, and no job reads two of them.
"""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tests.chaos.places import again, copy
from tests.chaos.runs import Fault, run
from tests.workflow.conftest import ROOT, SMOKE
from tests.workflow.content import content, digest

Damage = Callable[[bytes, np.random.Generator], bytes]


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """Keep the first part."""
    return data[: int(rng.integers(1, len(data)))]


def flip(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip one bit."""
    whole, bit = bytearray(data), int(rng.integers(8 * len(data)))
    whole[bit // 8] ^= 1 << bit % 8
    return bytes(whole)


def empty(data: bytes, rng: np.random.Generator) -> bytes:
    """Keep nothing."""
    return b""


DAMAGES: dict[str, Damage] = {"cut short": cut, "one bit flipped": flip, "emptied": empty}


@dataclass(frozen=True)
class Job:
    """A job of a finished run: its outputs, the files it reads, and how deep it lies in the DAG."""

    rule: str
    outputs: list[str]
    inputs: list[str]
    depth: int = 0


@dataclass(frozen=True)
class Trial:
    """One file to be damaged, and the job that is to read it."""

    path: str
    reader: Job


def jobs_of_run(folder: Path) -> list[Job]:
    """All jobs of a finished run, as `snakemake --detailed-summary` lists them, in order."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--directory", str(folder), "--configfile", str(SMOKE), "--detailed-summary"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    jobs: dict[str, Job] = {}  # by their logs
    for row in csv.DictReader(done.stdout.splitlines(), delimiter="\t"):
        inputs = [name for name in row["input-file(s)"].split(",") if name.startswith("results/")]
        job = jobs.setdefault(row["log-file(s)"], Job(row["rule"], [], inputs))
        job.outputs.append(row["output_file"])
    maker = {name: job for job in jobs.values() for name in job.outputs}

    def depth(job: Job) -> int:
        return 1 + max((depth(maker[name]) for name in job.inputs if name in maker), default=0)

    whole = [replace(job, depth=depth(job)) for job in jobs.values()]
    return sorted(whole, key=lambda job: job.depth)


def batches(folder: Path) -> list[list[Trial]]:
    """One file of each kind (rule and name) that a job reads, in batches of independent readers.

    Jobs at the same depth of the DAG do not wait for each other.
    """
    jobs = jobs_of_run(folder)
    kinds = {(job.rule, Path(name).name): name for job in jobs for name in reversed(job.outputs)}
    found: list[list[Trial]] = []
    for name in kinds.values():
        trials = [Trial(name, job) for job in jobs if name in job.inputs]
        if not trials or not (folder / name).is_file():
            continue
        places = [(batch, trial) for trial in trials for batch in found if _fits(trial, batch)]
        if places:
            places[0][0].append(places[0][1])
        else:
            found.append([trials[0]])
    return found


def _fits(trial: Trial, batch: list[Trial]) -> bool:
    is_mixed = any(
        trial.path in other.reader.inputs or other.path in trial.reader.inputs for other in batch
    )
    return not is_mixed and trial.reader.depth == batch[0].reader.depth


def damage_batch(
    reference: Path,
    folder: Path,
    batch: list[Trial],
    kinds: list[str],
    rng: np.random.Generator,
) -> list[Fault]:
    """Damage the files of a batch in a copy of a run, as a disk would, and let them be read.

    Their times stay; the first output of each reader is taken away, so that it runs again.
    """
    copy(reference, folder, [trial.reader.outputs[0] for trial in batch])
    for trial, kind in zip(batch, kinds, strict=True):
        path = folder / trial.path
        state = path.stat()
        path.write_bytes(DAMAGES[kind](path.read_bytes(), rng))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    _, said = run(folder, *(trial.reader.outputs[0] for trial in batch))
    expected = content(reference)
    faults = []
    for trial, kind in zip(batch, kinds, strict=True):
        names = [name for name in trial.reader.outputs if name in expected]
        if re.search(rf"^(error: .*)?{re.escape(trial.path)}: (got|expected)", said, re.M):
            outcome = "named"
        elif not names:  # a page with seconds in it
            made = all((folder / name).is_file() for name in trial.reader.outputs)
            outcome = "not compared" if made else "lost: neither made nor named"
        elif all((folder / n).is_file() and digest(folder / n) == expected[n] for n in names):
            outcome = "survived"
        else:
            outcome = "lost: read without a word, or not named"
        faults.append(Fault(kind, f"{trial.path}, read by {trial.reader.rule}", outcome))
    return faults


def repaired(folder: Path, batch: list[Trial], expected: dict[str, str]) -> None:
    """Do what the sentence says: delete the damaged files and run again."""
    for trial in batch:
        (folder / trial.path).unlink()
    again(folder, expected)
