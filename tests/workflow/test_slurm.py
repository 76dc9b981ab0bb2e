"""A real Slurm of one node runs a shard; after a fault a second run gives the right results.

up.sh starts the daemons of Debian's packages slurm-wlm and munge, as root, in a folder of their
own. `make slurm-smoke` runs this whole file, the test suite only its first test.
"""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.workflow import conftest
from tests.workflow.conftest import ROOT, SMOKE, snakemake
from tests.workflow.content import content

SCRIPTS = Path(__file__).parent / "slurm"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
MANIFEST = "results/shards/tubes_0001-0001.json"
# This Slurm keeps no accounts for `sacct`, and its file system is local.
PROFILE = ["--profile", str(ROOT / "profiles/slurm"), "--slurm-status-command", "squeue"]
PROFILE += ["--latency-wait", "20"]

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("slurm")]
full = pytest.mark.skipif("TUBEPET_SLURM" not in os.environ, reason="run by make slurm-smoke")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and Debian's slurm-wlm and munge (missing: {missing})")
    folder = Path(f"/tmp/tubepet-slurm-{os.getpid()}")  # a socket's path must be short
    up = subprocess.run([SCRIPTS / "up.sh", folder], capture_output=True, text=True, check=False)
    if up.returncode != 0:
        subprocess.run([SCRIPTS / "down.sh", folder], check=False)
        pytest.skip(f"Slurm did not start: {up.stderr[-300:]}")
    yield folder
    subprocess.run([SCRIPTS / "down.sh", folder], check=True, timeout=120)
    shutil.rmtree(folder)


@pytest.fixture
def folder(copy, tmp_path):
    """Return a copy of the smoke run without its second tube, which is a shard of its own."""
    for stage in ("phantom", "simulate", "reconstruct"):
        shutil.rmtree(copy / "results" / stage / "tube_0001")
    (tmp_path / "shards.yaml").write_text("phantom: {tubes_per_job: 2}\n")
    return copy


def arguments(folder: Path, *more: str) -> list[str]:
    configs = ["--configfile", str(SMOKE), str(folder.parent / "shards.yaml")]
    return [MANIFEST, *configs, *PROFILE, "--retries", "0", *more]


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start Snakemake and return when its shard is at work."""
    process = conftest.start(folder, *arguments(folder))
    for _ in range(3000):
        if (folder / "results/phantom/tube_0001/truth.json").is_file():
            return process
        time.sleep(0.1)
    raise AssertionError("the shard did not begin in 300 s")


def second_run_is_right(folder: Path, smoke: Path) -> None:
    done = snakemake(folder, *arguments(folder))
    assert done.returncode == 0, done.stdout[-5000:]
    ours, theirs = content(folder), content(smoke)
    del ours[MANIFEST]
    assert ours == theirs


def test_a_cancelled_shard_is_named_and_made_by_the_next_run(slurm, folder, smoke):
    process = start(folder)
    subprocess.run(["scancel", "--user=root"], check=True)
    assert process.wait(timeout=300) != 0
    second_run_is_right(folder, smoke)


@full
def test_a_failing_job_says_why(slurm, folder, smoke):
    damaged = folder / "results/reconstruct/calibration.json"
    whole, state = damaged.read_bytes(), damaged.stat()
    damaged.write_bytes(whole[: len(whole) // 2])
    os.utime(damaged, ns=(state.st_atime_ns, state.st_mtime_ns))
    done = snakemake(folder, *arguments(folder))
    assert done.returncode != 0
    log = (folder / "logs/reconstruct_tube/tube_0001.log").read_text()
    assert "calibration.json: expected JSON, got a damaged file" in log
    damaged.write_bytes(whole)
    os.utime(damaged, ns=(state.st_atime_ns, state.st_mtime_ns))
    second_run_is_right(folder, smoke)


@full
def test_a_job_over_its_memory_is_killed_and_made_with_more(slurm, folder, smoke):
    little = ["--set-resources", "run_shard:mem_mb=60", "run_shard:slurm_partition=main"]
    done = snakemake(folder, *arguments(folder, *little))
    assert done.returncode != 0
    assert not (folder / MANIFEST).exists()
    second_run_is_right(folder, smoke)


@full
def test_a_killed_snakemake_leaves_an_orphan_that_does_no_harm(slurm, folder, smoke):
    """The orphan goes on writing while its duplicate runs."""
    process = start(folder)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert snakemake(folder, "--unlock").returncode == 0
    second_run_is_right(folder, smoke)


@full
def test_the_whole_smoke_run_through_slurm(slurm, smoke, tmp_path):
    start_s = time.monotonic()
    configs = ["--configfile", str(SMOKE)]
    done = snakemake(tmp_path, *configs, *PROFILE)
    assert done.returncode == 0, done.stdout[-5000:]
    print(f"{time.monotonic() - start_s:.0f} s")
    assert content(tmp_path) == content(smoke)
