"""Faults of the place where results lie: full, read-only, its clock wrong, or used twice."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.chaos.runs import LostError, check_same, run, start


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


def size_mb(folder: Path) -> float:
    """Size of all files below a folder, as a tmpfs counts them: whole pages."""
    sizes = (p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return sum(-(-size // 4096) * 4096 + 4096 for size in sizes) / 2**20


def disk_full(
    reference: Path, folder: Path, expected: dict[str, str], missing: list[str], room_kb: int
) -> str:
    """Run in a folder with little room left, then give it more and run again."""
    copy(reference, folder, missing)
    mount = folder.with_name("mount")
    mount.mkdir(exist_ok=True)
    room_mb = size_mb(folder) + room_kb / 1024
    with tmpfs(mount, f"{int(room_mb * 1024)}k"):
        shutil.copytree(folder, mount, symlinks=True, dirs_exist_ok=True)
        status, said = run(mount)
        if status == 0:
            return "nothing happened: there was room enough"
        if "No space left on device" not in said:
            raise LostError(f"the full disk was not named: {said[-1500:]}")
        _mount("-o", "remount,size=1g", str(mount))
        again(mount, expected)
    return "survived"


def read_only(reference: Path, folder: Path, expected: dict[str, str], missing: list[str]) -> str:
    """Run in a folder that cannot be written, then in the same folder again."""
    copy(reference, folder, missing)
    mount = folder.with_name("mount")
    mount.mkdir(exist_ok=True)
    with tmpfs(mount, "1g"):
        shutil.copytree(folder, mount, symlinks=True, dirs_exist_ok=True)
        _mount("-o", "remount,ro", str(mount))
        status, said = run(mount)
        _mount("-o", "remount,rw", str(mount))
        if status == 0 or "Read-only file system" not in said:
            raise LostError(f"the read-only folder was not named: {said[-1500:]}")
        again(mount, expected)
    return "survived"


def clock_back(
    reference: Path,
    folder: Path,
    expected: dict[str, str],
    missing: list[str],
    rng: np.random.Generator,
) -> str:
    """Run where some files are from tomorrow, as after a clock that was put right."""
    copy(reference, folder, missing)
    paths = sorted(path for path in (folder / "results").rglob("*") if path.is_file())
    tomorrow_s = time.time() + 86400
    for path in rng.choice(np.array(paths), size=len(paths) // 4, replace=False):
        os.utime(path, (tomorrow_s, tomorrow_s))
    again(folder, expected)
    return "survived"


def two_at_once(
    reference: Path, folder: Path, expected: dict[str, str], missing: list[str], delay_s: float
) -> str:
    """Start Snakemake twice in one folder."""
    copy(reference, folder, missing)
    logs = [folder.with_name(f"{folder.name}.{i}.log") for i in (1, 2)]
    first = start(folder, logs[0])
    time.sleep(delay_s)
    second = start(folder, logs[1])
    states = first.wait(), second.wait()
    if states.count(0) == 0:
        raise LostError(f"both ended with an error: {[p.read_text()[-800:] for p in logs]}")
    for state, log in zip(states, logs, strict=True):
        if state != 0 and "LockException" not in log.read_text():
            raise LostError(f"no word of the lock: {log.read_text()[-1500:]}")
    again(folder, expected)
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


def again(folder: Path, expected: dict[str, str]) -> None:
    """Run plainly; it must end well, and with the right files."""
    status, said = run(folder)
    if status != 0:
        raise LostError(f"a plain run failed: {said[-3000:]}")
    check_same(folder, expected)
