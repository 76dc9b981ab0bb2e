"""Workarounds for Snakemake, one function each, with the versions in which they were seen."""

from typing import Any


def look_only_when_jobs_end(workflow: Any) -> None:
    """Drop Snakemake's default limit of jobs per second; a limit that the user gives stays.

    With it the scheduler looks round once more per second for every job that has ended: four
    minutes of CPU time in the default run (`JobScheduler.schedule`, seen in 9.20 to 9.27).
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def do_not_measure_cached_rules(workflow: Any) -> None:
    """Take the benchmark file from rules that may come from a cache (``--cache``).

    Snakemake refuses such a rule (caching/rule.py, seen in 9.20 to 9.27), and a rule's public
    attribute takes no empty path.
    """
    for rule in workflow.rules:
        if rule.cache and rule.cache.output:
            rule._benchmark = None
