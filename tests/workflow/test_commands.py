"""Every command that a document names exists: options, targets, programs."""

import importlib.util
import re
import shlex
import subprocess

import click
import pytest
from snakemake.cli import parse_args

from tests import documents
from tests.workflow.conftest import ROOT, snakemake
from tubepet.cli import main

PROGRAMS = ("snakemake", "tubepet", "make", "python")
# Rest of the lines in blocks: nothing of ours
OTHERS = {".", "cat", "cd", "cp", "head", "ls", "run", "mkdocs"}


def named_commands() -> list[tuple[str, str]]:
    """Return page and command of every line in a block and every piece of code in the text."""
    found = []
    for page in documents.PAGES:
        text = page.read_text(encoding="utf-8")
        inline = re.findall(rf"`((?:{'|'.join(PROGRAMS)}) [^`]+)`", documents.FENCE.sub("", text))
        blocks = [line for step in documents.steps(page) for line in documents.lines(step.commands)]
        found += [(str(page.relative_to(ROOT)), line) for line in blocks + inline]
    return sorted(set(found))


COMMANDS = named_commands()


def of(program: str) -> list:
    chosen = [(page, line) for page, line in COMMANDS if line.split()[0] == program]
    return [pytest.param(line, id=f"{page}: {line[:60]}") for page, line in chosen]


def test_all_are_found_and_known():
    words = {re.split(r"[\s=]", line)[0] for _, line in COMMANDS}
    assert words <= {*PROGRAMS, *OTHERS}, words
    assert all(len(of(program)) >= 3 for program in PROGRAMS)


@pytest.mark.parametrize("line", of("tubepet"))
def test_options_of_tubepet_exist(line):
    command: click.Command = main
    words = shlex.split(line.partition("|")[0])[1:]
    while isinstance(command, click.Group):
        options = [word for word in words if word.startswith("-")]
        if words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        else:
            assert options or not words, f"no command {words[0]!r}"
            break
    context = click.Context(command, **command.context_settings)
    command.make_parser(context).parse_args(words)  # raises NoSuchOption


@pytest.mark.parametrize("line", of("make"))
def test_targets_of_make_exist(line):
    words = [word for word in re.sub(r"<[^>]*>", "x", line).split()[1:] if "=" not in word]
    done = subprocess.run(
        ["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", of("python"))
def test_modules_and_files_of_python_exist(line):
    words = shlex.split(line)[1:]
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None
    elif words[0].startswith("benchmarks/"):
        assert (ROOT / words[0]).is_file()


def parsed(line: str):
    return parse_args(shlex.split(line.partition("#")[0].replace("...", ""))[1:])[1]


@pytest.mark.parametrize("line", of("snakemake"))
def test_options_of_snakemake_exist(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    parsed(line)  # leaves with a message if one is unknown


@pytest.mark.workflow
@pytest.mark.parametrize("config", ["", "config/study.yaml"])
def test_targets_of_snakemake_exist(tmp_path, monkeypatch, config):
    """One plan for all targets that documents name with a config."""
    monkeypatch.chdir(ROOT)
    targets = set()
    for line in (line for _, line in COMMANDS if line.startswith("snakemake ")):
        arguments = parsed(line)
        if [str(path) for path in arguments.configfile or []] == ([config] if config else []):
            targets |= {str(target) for target in arguments.targets}
    assert targets
    configs = [
        "--configfile",
        *([str(ROOT / config)] if config else [str(ROOT / "config/config.yaml")]),
    ]
    done = snakemake(tmp_path, "-n", *sorted(targets), *configs)
    assert done.returncode == 0, f"{targets}\n{done.stdout[-3000:]}"
