"""Both Snakefiles are one workflow, from any folder; results of a former version are named."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.conftest import ROOT, SMOKE


def plan(snakefile: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Plan the smoke run in a folder, without the profiles beside a Snakefile."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "-n"]
    command += ["--directory", str(folder), "--workflow-profile", "none", "--quiet", "rules"]
    return subprocess.run(
        [*command, *options], capture_output=True, text=True, cwd=folder, check=False
    )


@pytest.mark.workflow
def test_the_folder_for_tests_is_the_smoke_run(tmp_path: Path) -> None:
    """`snakemake --directory .test` and no more, as workflows of the catalogue have it."""
    shutil.copytree(ROOT / ".test", tmp_path / "test")  # and follows its link
    counts = []
    for options in (("--directory", "test"), ("--configfile", str(SMOKE))):
        done = plan(ROOT / "Snakefile", tmp_path, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        counts.append((done.stdout + done.stderr).partition("Job stats:")[2].split("\n\n")[0])
    assert counts[0] == counts[1] and "simulate_tube                3" in counts[0]


@pytest.mark.workflow
def test_the_root_and_the_catalogues_snakefile_plan_the_same_jobs(tmp_path: Path) -> None:
    counts = []
    for snakefile in (ROOT / "Snakefile", ROOT / "workflow/Snakefile"):
        done = plan(snakefile, tmp_path, "--configfile", str(SMOKE))
        assert done.returncode == 0, done.stdout + done.stderr
        text = done.stdout + done.stderr
        counts.append(text[text.index("Job stats:") :].split("\n\n")[0])
    assert counts[0] == counts[1]
    assert "make_report" in counts[0] and "all" in counts[0].split()
