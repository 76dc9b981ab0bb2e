"""Faults of the folder of results: full, read-only, with a wrong clock, or used by two runs."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.chaos.runs import LostError, check_same, run, start
from tests.workflow.conftest import ROOT


def can_mount() -> bool:
    """Whether a tmpfs may be mounted here (root in a container may still not)."""
    folder = Path("/tmp") / f"tubepet-mount-{os.getpid()}"
    folder.mkdir()
    try:
        with tmpfs(folder, "64k"):
            return True
    except (subprocess.CalledProcessError, FileNotFoundError):
        return False
    finally:
        folder.rmdir()


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[None]:
    """Put a small file system over a folder for as long as the block lasts."""
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def size_kb(folder: Path) -> int:
    """Size of all files below a folder, as a tmpfs counts them: whole pages."""
    sizes = (p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return sum(-(-size // 4096) * 4 for size in sizes)


def disk_full(
    reference: Path, folder: Path, expected: dict[str, str], missing: list[str], room_kb: int
) -> str:
    """Run in a folder with little room left, then give it more and run again."""
    copy(reference, folder, missing)
    mount = folder.with_name("mount")
    mount.mkdir(exist_ok=True)
    with tmpfs(mount, f"{size_kb(folder) + room_kb}k"):
        shutil.copytree(folder, mount, symlinks=True, dirs_exist_ok=True)
        status, said = run(mount, *targets(missing))
        if status == 0:
            return "nothing happened: there was room enough"
        if "No space left on device" not in said:
            raise LostError(f"the full disk was not named: {said[-1500:]}")
        _mount("-o", "remount,size=1g", str(mount))
        again(mount, expected, *targets(missing))
    return "survived"


def read_only(reference: Path, folder: Path, expected: dict[str, str], missing: list[str]) -> str:
    """Run in a folder that cannot be written, then in the same folder again."""
    copy(reference, folder, missing)
    mount = folder.with_name("mount")
    mount.mkdir(exist_ok=True)
    with tmpfs(mount, "1g"):
        shutil.copytree(folder, mount, symlinks=True, dirs_exist_ok=True)
        _mount("-o", "remount,ro", str(mount))
        status, said = run(mount, *targets(missing))
        _mount("-o", "remount,rw", str(mount))
        if status == 0 or "Read-only file system" not in said:
            raise LostError(f"the read-only folder was not named: {said[-1500:]}")
        again(mount, expected, *targets(missing))
    return "survived"


def clock_back(
    reference: Path,
    folder: Path,
    expected: dict[str, str],
    missing: list[str],
    rng: np.random.Generator,
) -> str:
    """Run where some files are from tomorrow, as after a clock that was put right.

    Snakemake refuses a result that is older than its input, by name; then do what docs/cluster.md
    says.
    """
    copy(reference, folder, missing)
    paths = sorted(path for path in (folder / "results").rglob("*") if path.is_file())
    tomorrow_s = time.time() + 86400
    chosen = rng.choice(np.array(paths), size=len(paths) // 4, replace=False)
    for path in chosen:
        os.utime(path, (tomorrow_s, tomorrow_s))
    status, said = run(folder, *targets(missing))
    if status == 0:
        check_same(folder, expected)
        return "survived"
    found = re.findall(r"older modification time .* than input (\S+) .*clock skew", said)
    if not set(found) & {path.relative_to(folder).as_posix() for path in chosen}:
        raise LostError(f"no word of the clock: {said[-1500:]}")
    subprocess.run(
        ["find", "results", "-newermt", "now", "-exec", "touch", "{}", "+"], cwd=folder, check=True
    )
    again(folder, expected, *targets(missing))
    return "named"


def two_at_once(
    reference: Path, folder: Path, expected: dict[str, str], missing: list[str], delay_s: float
) -> str:
    """Start Snakemake twice in one folder."""
    copy(reference, folder, missing)
    logs = [folder.with_name(f"{folder.name}.{i}.log") for i in (1, 2)]
    first = start(folder, logs[0], *targets(missing))
    time.sleep(delay_s)
    second = start(folder, logs[1], *targets(missing))
    states = first.wait(), second.wait()
    if states.count(0) == 0:
        raise LostError(f"both ended with an error: {[p.read_text()[-800:] for p in logs]}")
    for state, log in zip(states, logs, strict=True):
        # a second one that comes while the first takes its lock away does not find the file
        if state != 0 and not re.search(r"LockException|No such file.*\.lock'", log.read_text()):
            raise LostError(f"no word of the lock: {log.read_text()[-1500:]}")
    again(folder, expected, *targets(missing))
    return "survived"


def copy(reference: Path, folder: Path, missing: list[str]) -> None:
    """Copy a finished run with its times, without some of its files."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(reference, folder, symlinks=True)
    remove(folder, missing)


def remove(folder: Path, names: list[str]) -> None:
    """Remove results, files or whole folders; temporary ones are gone already."""
    for name in names:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def targets(missing: list[str]) -> list[str]:
    """Ask for missing files too: those inside the chain are not made for their own sake."""
    return ["all", *missing]


def again(folder: Path, expected: dict[str, str], *wanted: str, root: Path = ROOT) -> None:
    """Run again; it must end well, and with the right files."""
    status, said = run(folder, *wanted, root=root)
    if status != 0:
        raise LostError(f"a plain run failed: {said[-3000:]}")
    check_same(folder, expected)
