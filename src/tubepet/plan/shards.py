"""Shards: several tubes in one job (standard library only: the Snakefile imports it).

Snakemake takes minutes to plan several jobs per tube for thousands of tubes. With
``phantom.tubes_per_job`` above 1 it plans one job per shard. That job plans and runs the rules of
its own tubes by an inner Snakemake. Rules, scripts, files and records are those of a run without
shards. So a killed shard goes on where it was, and one changed tube runs again alone.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tubepet.checksums import of_file
from tubepet.errors import InputError
from tubepet.root import ROOT


def cut(tubes: Sequence[str], size: int) -> dict[str, list[str]]:
    """Cut the list of tubes into shards.

    Parameters
    ----------
    tubes : sequence of str
        ``tube_0000`` and so on.
    size : int
        Tubes per shard.

    Returns
    -------
    dict
        Tubes by shard, ``tubes_0001-0010``. The first tube, which the report follows, is in none:
        it is a job of its own. With a size of 1 there are no shards.
    """
    if size == 1:
        return {}
    rest = list(tubes[1:])
    parts = [rest[i : i + size] for i in range(0, len(rest), size)]
    return {f"tubes_{_number(part[0])}-{_number(part[-1])}": part for part in parts}


def _number(tube: str) -> str:
    return tube.removeprefix("tube_")


def digest(content: Any, scripts: Sequence[Path]) -> str:
    """Hash what the jobs inside a shard depend on besides files: params and scripts.

    Parameters
    ----------
    content : JSON data
        Params of the rules, all tubes of the shard.
    scripts : sequence of Path
        The rules' scripts.

    Returns
    -------
    str
        First 12 hexadecimal digits of a SHA-256.
    """
    whole = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode())
    for path in scripts:
        whole.update(path.read_bytes())
    return whole.hexdigest()[:12]


def run(
    targets: Sequence[str],
    rules: Sequence[str],
    config_path: str | Path,
    num_threads: int,
) -> None:
    """Make the files of a shard's tubes by a Snakemake of its own, in the current folder.

    Parameters
    ----------
    targets : sequence of str
        What each tube ends with.
    rules : sequence of str
        The only rules that may run; the outer run makes all that they share before. (Their inputs
        are named by path: ``rules.x.output`` would bring rule x along.)
    config_path : path
        The whole config as JSON.
    num_threads : int
        Jobs at a time.

    Raises
    ------
    InputError
        If a tube fails; all others are made before.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    command += ["--cores", str(num_threads), "--executor", "local", "--nolock", "--keep-going"]
    command += ["--profile", "none", "--workflow-profile", "none", "--rerun-incomplete"]
    command += ["--quiet", "host", "progress", "reason", "rules", "--configfile", str(config_path)]
    command += ["--allowed-rules", *rules, "--", *targets]
    if subprocess.run(command, check=False).returncode != 0:
        missing = [path for path in targets if not Path(path).is_file()]
        raise InputError(
            f"{' '.join(missing) or targets[0]}: not made, {len(targets) - len(missing)} of "
            f"{len(targets)} files of the shard were (why: above, and logs/<rule>/<tube>.log)"
        )


def checksums(paths: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each file."""
    return {path: of_file(path) for path in paths}


def listing(folder: str | Path) -> str:
    """Hash names, sizes and times of all files under a folder; first 12 digits of a SHA-256.

    Links are not followed.
    """
    whole, left = hashlib.sha256(), [os.fsencode(folder)]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                else:
                    state = entry.stat(follow_symlinks=False)
                    whole.update(entry.path + b" %d %d\n" % (state.st_size, state.st_mtime_ns))
    return whole.hexdigest()[:12]
