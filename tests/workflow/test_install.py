"""The wheel contains the whole workflow, and can be built from the sdist alone."""

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections import Counter
from pathlib import Path

import pytest

import tubepet
from tests.workflow.conftest import ROOT
from tubepet.plan.provenance import code_digest

FOLDERS = ("workflow", "config", "envs", "profiles")
MAX_MB = 3.0

pytestmark = pytest.mark.xdist_group("install")  # one build for all


def run(*command: str | Path, folder: Path) -> str:
    """Run a command in a folder that is no checkout, without its package on the path."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=variables, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    """Build the sdist from a copy of what git tracks or would: a build leaves files behind."""
    folder = tmp_path_factory.mktemp("sdist")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "copy" / name).write_bytes((ROOT / name).read_bytes())
    program = "from setuptools import build_meta; build_meta.build_sdist('..')"
    run(sys.executable, "-c", program, folder=folder / "copy")
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(sdist) -> Path:
    words = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", sdist.name]
    run(sys.executable, *words, folder=sdist.parent)
    return next(sdist.parent.glob("*.whl"))


def in_checkout() -> set[str]:
    """Return the files of the package and the workflow, by their names in the wheel."""
    found = {path: f"tubepet/share/{path.relative_to(ROOT)}" for name in FOLDERS
             for path in (ROOT / name).rglob("*")}  # fmt: skip
    source = ROOT / "src"
    found |= {path: str(path.relative_to(source)) for path in (source / "tubepet").rglob("*")}
    names = {name for path, name in found.items() if path.is_file()}
    return {name for name in names if "__pycache__" not in name} | {"tubepet/share/Snakefile"}


def test_the_wheel_holds_package_and_workflow_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == in_checkout()
    assert len(names) > 300 and wheel.stat().st_size / 1e6 < MAX_MB


def test_the_sdist_holds_no_tests_and_no_pictures(sdist):
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    tops = {name.partition("/")[0] for name in names if "/" in name}
    assert tops == {"src", *FOLDERS}
    assert {"requirements.lock", "CITATION.cff", "LICENSE"} <= set(names)
    assert sdist.stat().st_size / 1e6 < MAX_MB


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Return the programs of a new environment with the wheel, which sees all other packages."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    # Lines of a .pth do not read the .pth files there: no editable install of a checkout is seen.
    others = [path for path in sys.path if path.endswith("-packages")]
    (site / "others.pth").write_text("\n".join(others))
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python", "install"]
    run(*pip, "--no-deps", "--no-index", wheel, folder=folder)
    return folder / "bin"


def test_the_installed_package_is_that_of_the_wheel(installed, tmp_path):
    said = run(installed / "tubepet", "--version", folder=tmp_path)
    assert said.split()[-1] == tubepet.__version__
    program = "import tubepet.plan.provenance as p; print(p.__file__, p.code_digest('tubepet.cli'))"
    place, digest = run(installed / "python", "-c", program, folder=tmp_path).split()
    assert Path(place).is_relative_to(installed.parent)
    assert digest == code_digest("tubepet.cli")


@pytest.mark.workflow
def test_the_wheel_plans_the_smoke_run_and_runs_a_job(installed, tmp_path):
    smoke = ("--directory", "here", "--configfile", "smoke")
    said = run(installed / "tubepet", "run", "-n", *smoke, folder=tmp_path)
    assert "share/profiles/default" in said
    jobs = Counter(re.findall(r"^(?:local)?rule (\w+):", said, re.M))
    assert jobs["simulate_tube"] == 3 and jobs["make_report"] == 1  # two tubes and the literal one
    truth = "results/phantom/tube_0000/truth.json"
    run(installed / "tubepet", "run", truth, "--cores", "1", *smoke, folder=tmp_path)
    assert (tmp_path / "here" / truth).is_file()
    said = run(installed / "tubepet", "status", *smoke, folder=tmp_path)
    assert re.search(r"^make_phantom +6 +0 +0 +12$", said, re.M), said
