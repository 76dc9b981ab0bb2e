"""Fault campaign over the smoke chain: `make chaos`, or `python -m tests.chaos.campaign --help`.

Jobs of every rule, and Snakemake itself, are killed at random moments; jobs that train, evaluate
or report at more moments. Disks fill up, files are damaged, config or code change, and so on.
After each fault a plain run must end with the files of an undisturbed run, bit for bit, or stop
with a sentence that names the damaged file. Everything else is a bug.
"""

import argparse
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.chaos import changes, damage, places
from tests.chaos.runs import (
    Fault,
    Kills,
    LostError,
    cpu_of_rules,
    run,
    under_fire,
    wait_for_orphans,
)
from tests.workflow.content import content

PARTS = ("kills", "learning", "damage", "places", "changes")
NUM_ANEW = 8  # jobs whose output is taken away before a further round of kills
LEARNING = re.compile(r"(train|generate|evaluate|fit|collect_report|make_report|make_turing)\w*$")
NUM_LEARNING = 30  # kills of their jobs
NUM_CHANGES, LATEST_S = 4, 30.0  # of the config and of the code, before so many CPU seconds
NUM_OLDER = 2


def undisturbed(folder: Path) -> None:
    """Make the reference."""
    folder.mkdir(parents=True, exist_ok=True)
    status, said = run(folder)
    if status != 0:
        raise LostError(f"the undisturbed run failed: {said[-3000:]}")


def kill_rounds(
    reference: Path, folder: Path, kills: Kills, jobs: list[damage.Job], asked: list[str]
) -> list[Fault]:
    """Kill until all is done, each round in a run that lacks some files."""
    expected = content(reference)
    faults: list[Fault] = []
    while True:
        try:
            while not under_fire(folder, kills, *asked):
                print(f"{len(faults) + len(kills.done)} kills, {kills.left()} to come", flush=True)
            num_orphans = wait_for_orphans(folder)
            places.again(folder, expected, *asked)
        except LostError as error:
            hit = kills.done or [("no kill", "some files taken away")]
            return faults + [Fault(kind, where, f"lost: {error}") for kind, where in hit]
        print(f"whole again; {num_orphans} orphans were still at work", flush=True)
        faults += [Fault(kind, where, "survived") for kind, where in kills.done]
        kills.done.clear()
        if not kills.left():
            return faults
        missing = some_missing(reference, kills, jobs)
        places.remove(folder, missing)
        asked = places.targets(missing)


def some_missing(reference: Path, kills: Kills, jobs: list[damage.Job]) -> list[str]:
    """Choose files of jobs that are still to be killed, if there are any."""
    left = [job for job in jobs if kills.jobs[job.rule] > 0] or jobs
    names = [job.outputs[0] for job in left if (reference / job.outputs[0]).exists()]
    return [
        str(name) for name in kills.rng.choice(names, size=min(NUM_ANEW, len(names)), replace=False)
    ]


def kill_faults(
    reference: Path, work: Path, num_kills: int, rng: np.random.Generator
) -> list[Fault]:
    """Kill jobs of every rule, and Snakemake for a third of the kills."""
    jobs = damage.jobs_of_run(reference)
    rules = sorted({job.rule for job in jobs})
    more = rng.choice(rules, size=max(num_kills - num_kills // 3 - len(rules), 0))
    kills = Kills(rng, cpu_of_rules(reference), Counter([*rules, *more]), num_kills // 3)
    folder = work / "kills"
    folder.mkdir()
    return kill_rounds(reference, folder, kills, jobs, ["all"])


def learning_faults(reference: Path, work: Path, rng: np.random.Generator) -> list[Fault]:
    """Kill jobs that train, evaluate or report, at moments all over their lives."""
    jobs = [job for job in damage.jobs_of_run(reference) if LEARNING.match(job.rule)]
    rules = sorted({job.rule for job in jobs})
    more = rng.choice(rules, size=NUM_LEARNING - len(rules))
    kills = Kills(rng, cpu_of_rules(reference), Counter([*rules, *more]), 0)
    folder, missing = work / "learning", some_missing(reference, kills, jobs)
    places.copy(reference, folder, missing)
    faults = kill_rounds(reference, folder, kills, jobs, places.targets(missing))
    return [replace(fault, kind=f"{fault.kind} that learns") for fault in faults]


def damage_faults(reference: Path, work: Path, rng: np.random.Generator) -> list[Fault]:
    """Damage a file of each kind twice; delete those of the last batch, as the sentence says."""
    folder, faults = work / "damage", []
    found = damage.batches(reference)
    for first in (True, False):
        for batch in found:
            others = [str(kind) for kind in rng.choice(["cut short", "emptied"], size=len(batch))]
            kinds = ["one bit flipped"] * len(batch) if first else others
            found_now = damage.damage_batch(reference, folder, batch, kinds, rng)
            print(*found_now, sep="\n", flush=True)
            faults += found_now
    try:
        damage.repaired(folder, found[-1], content(reference))
    except LostError as error:
        faults.append(Fault("deleted after its damage", found[-1][0].path, f"lost: {error}"))
    return faults


def place_faults(reference: Path, work: Path, rng: np.random.Generator) -> list[Fault]:
    """Full and read-only folders, a wrong clock, two runs at once; a few files are missing."""
    expected, folder, faults = content(reference), work / "place", []
    firsts = [job.outputs[0] for job in damage.jobs_of_run(reference)]
    kept = [name for name in firsts if (reference / name).exists()]  # others are temporary

    def missing() -> list[str]:
        return [str(name) for name in rng.choice(kept, size=3, replace=False)]

    def trial(kind: str, where: str, try_it: Callable[..., str], *more: Any) -> None:
        try:
            outcome = try_it(reference, folder, expected, missing(), *more)
        except LostError as error:
            outcome = f"lost: {error}"
        faults.append(Fault(kind, where, outcome))
        print(f"{kind}, {where}: {outcome[:3000]}", flush=True)

    if places.can_mount():
        for room_kb in rng.integers(1, 60, size=4).tolist():
            trial("full disk", f"{room_kb} kB left", places.disk_full, room_kb)
        trial("read-only folder", "all of it", places.read_only)
    else:
        print("full and read-only folders: not tried, they need the right to mount a tmpfs")
    for delay_s in (0.0, *rng.uniform(0, 8, size=2)):
        trial("two Snakemakes at once", f"{delay_s:.1f} s apart", places.two_at_once, delay_s)
    for _ in range(2):
        trial("clock put back by a day", "a quarter of the files", places.clock_back, rng)
    return faults


def change_faults(reference: Path, work: Path, rng: np.random.Generator) -> list[Fault]:
    """Change config or code in the middle of a run; run over results of older code."""
    expected, folder, faults = content(reference), work / "change", []
    jobs = [job for job in damage.jobs_of_run(reference) if LEARNING.match(job.rule)]
    names = [job.outputs[0] for job in jobs if (reference / job.outputs[0]).exists()]

    def trial(kind: str, where: str, try_it: Callable[[], str]) -> None:
        try:
            outcome = try_it()
        except LostError as error:
            outcome = f"lost: {error}"
        faults.append(Fault(kind, where, outcome))
        print(f"{kind}, {where}: {outcome[:3000]}", flush=True)

    def missing() -> list[str]:
        return [str(name) for name in rng.choice(names, size=NUM_ANEW, replace=False)]

    options = changes.config_of(first=False)(folder)
    changed = changes.made_anew(reference, folder, options)
    for number in range(NUM_CHANGES):
        at_s, is_stopped = rng.uniform(1, LATEST_S), number % 2 == 1
        trial(
            f"config changed{', SIGINT' * is_stopped}", f"after {at_s:.1f} CPU s",
            partial(
                changes.config_changed, reference, folder, expected, changed, missing(), at_s,
                is_stopped,
            ),
        )  # fmt: skip
    root = changes.copy_of_code(folder.with_name("code"))
    changes.edit(root)
    changed = changes.made_anew(reference, folder, [], root)
    for number in range(NUM_CHANGES):
        moments_s = sorted(rng.uniform(1, LATEST_S, size=1 + number % 2).tolist())
        trial(
            f"code changed{' and put back' * (number % 2)}",
            f"after {' and '.join(f'{at_s:.1f}' for at_s in moments_s)} CPU s",
            partial(
                changes.code_changed, reference, folder, expected, changed, missing(), moments_s
            ),
        )
    for commit in changes.older_versions(rng, NUM_OLDER):
        trial(
            "results of an older version", commit[:7],
            partial(changes.older_results, folder, expected, commit),
        )  # fmt: skip
    return faults


def table(faults: list[Fault]) -> str:
    """Faults tried, survived, named and lost, by kind."""
    lines = ["| fault | tried | survived | stopped, file named | page made, not compared | lost |"]
    lines += ["|---|---|---|---|---|---|"]
    outcomes = ("survived", "named", "not compared", "lost")
    by_kind: dict[str, Counter[str]] = {}
    for fault in faults:
        by_kind.setdefault(fault.kind, Counter())[fault.outcome.split(":")[0]] += 1
    by_kind["**all**"] = sum(by_kind.values(), Counter())
    for kind, counts in by_kind.items():
        numbers = (counts.total(), *(counts[outcome] for outcome in outcomes))
        lines.append(f"| {kind} | {' | '.join(map(str, numbers))} |")
    return "\n".join(lines)


OTHERS = {
    "learning": learning_faults,
    "damage": damage_faults,
    "places": place_faults,
    "changes": change_faults,
}


def main() -> None:
    """Read the command line, run the campaign, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--num-kills", type=int, default=100, help="at least (%(default)s)")
    parser.add_argument("--seed", type=int, default=2020, help="(%(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to do")
    parser.add_argument("--reference", type=Path, help="an undisturbed smoke run; default: made")
    parser.add_argument("--output", type=Path, default=Path("chaos.json"), help="(%(default)s)")
    given = parser.parse_args()
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        work = Path(name)
        reference = given.reference or work / "reference"
        if given.reference is None:
            undisturbed(reference)
        seeds = dict(zip(PARTS, np.random.SeedSequence(given.seed).spawn(len(PARTS)), strict=True))
        for part in given.parts:
            rng = np.random.default_rng(seeds[part])
            if part == "kills":
                faults += kill_faults(reference, work, given.num_kills, rng)
                reference = work / "kills"  # the same files, by this code
            else:
                faults += OTHERS[part](reference, work, rng)
            given.output.write_text(json.dumps([asdict(fault) for fault in faults], indent=1))
    print(table(faults))
    lost = [fault for fault in faults if fault.outcome.startswith("lost")]
    for fault in lost:
        print(f"LOST {fault.kind}, {fault.where}: {fault.outcome}")
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
