"""Workarounds for Snakemake, one function each, with the versions that need them."""

import atexit
import re
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import nullcontext
from typing import Any

from psutil import NoSuchProcess
from snakemake.benchmark import benchmarked  # type: ignore[import-untyped]
from snakemake.script import PythonScript  # type: ignore[import-untyped]

from tubepet.errors import InputError
from tubepet.plan.forks import Forks
from tubepet.root import ROOT

TEMPORARY = ("TMPDIR", "TMP", "TEMPDIR", "TEMP")  # variables that Snakemake's shell sets


def look_only_when_jobs_end(workflow: Any) -> None:
    """Drop Snakemake's default limit of jobs per second; a limit that the user gives stays.

    With it the scheduler runs once more per second for every job that has ended. This costs four
    minutes of CPU time in the default run (`JobScheduler.schedule`, seen in 9.20 to 9.27).
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def refuse_prefix(workflow: Any) -> None:
    """Refuse a path prefix where another workflow uses this one as a module.

    Snakemake puts `prefix` before inputs and outputs alone (`PathModifier`, seen in 9.27), but
    params and scripts name `results/...` too.

    Raises
    ------
    InputError
        If the statement `module` has `prefix` or `replace_prefix`.
    """
    path = "results/report.html"
    if (moved := workflow.modifier.path_modifier.replace_prefix(path)) != path:
        raise InputError(
            f"module tubepet: got a prefix that makes {path} {moved}, expected none: results lie "
            "in the folder of the run (snakemake --directory)"
        )


def stages(workflow: Any) -> dict[str, str]:
    """Return the name of the rule file, which is the stage, by name of the measured rule.

    The benchmark file tells the name. A workflow that uses this one as a module may give rules
    other names (`use rule * from tubepet as tubepet_*`), and has rules that are not ours.
    """
    found = {}
    for rule in workflow.rules:
        name = re.match(r"results/benchmarks/(\w+)", str(rule.benchmark))
        file = re.search(r"(\w+)\.smk", str(rule.snakefile))  # a path or an address with a tag
        if name and file:
            found[name[1]] = file[1]
    return found


def do_not_measure_cached_rules(workflow: Any) -> None:
    """Take the benchmark file from rules that may come from a cache (``--cache``).

    Snakemake refuses such a rule (caching/rule.py, seen in 9.20 to 9.27), and a rule's public
    attribute takes no empty path.
    """
    for rule in workflow.rules:
        if rule.cache and rule.cache.output:
            rule._benchmark = None


def put_last(workflow: Any, name: str) -> None:
    """Let the jobs of a rule fill cores that others leave idle: these get a priority of 1 more.

    None is below 0, for the scheduler `ilp` would never choose it (`scheduling/milp.py`, seen in
    9.27).
    """
    for rule in workflow.rules:
        if rule.name != name and not callable(rule.priority):
            rule.priority += 1


def fork_scripts(workflow: Any, names: Collection[str]) -> None:
    """Let the jobs of some rules be forks of one process (`tubepet.plan.forks`).

    Snakemake runs a script by a shell that starts Python (`PythonScript.execute_script`, seen in
    9.20 to 9.27). Jobs in environments or containers of their own, or of more than one thread, do
    so still. It measures the fork as it would measure the shell.
    """
    rules = [rule for rule in workflow.rules if rule.name in names]
    scripts = {ROOT / "workflow/scripts" / str(rule.script).rpartition("/")[2] for rule in rules}
    forks, ordinary = Forks(sorted(scripts)), PythonScript.execute_script

    def execute_script(job: Any, fname: str, edit: bool = False) -> None:
        is_of_its_own = job.conda_env or job.container_img or job.env_modules or job.threads > 1
        folder = job.resources.get("tmpdir")
        folders = dict.fromkeys(TEMPORARY, str(folder)) if folder else {}
        fork = None
        if job.rulename in names and not is_of_its_own:
            fork = forks.start(fname, folders)
        if fork is None:
            return ordinary(job, fname, edit)
        record, start_s = job.bench_record, time.monotonic()
        try:
            with nullcontext() if record is None else benchmarked(fork.pid, record):
                code = fork.wait()
        except NoSuchProcess:  # it has ended before Snakemake looked
            code = fork.wait()
            record.running_time = time.monotonic() - start_s
        if code:
            raise subprocess.CalledProcessError(code, f"{sys.executable} {fname}")

    PythonScript.execute_script = execute_script
    atexit.register(forks.close)
