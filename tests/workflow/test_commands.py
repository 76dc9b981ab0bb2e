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


def of(program: str) -> list[tuple[str, str]]:
    """Return page and command of every line that starts a program."""
    chosen = [(page, line) for page, line in COMMANDS if line.split()[0] == program]
    assert len(chosen) >= 3
    return chosen


def test_all_are_known():
    words = {re.split(r"[\s=]", line)[0] for _, line in COMMANDS}
    assert set(PROGRAMS) <= words <= {*PROGRAMS, *OTHERS}, words


def complaint(line: str) -> str:
    """Say what `tubepet` has against a line; empty if its commands and options exist."""
    command: click.Command = main
    words = shlex.split(line.partition("|")[0])[1:]
    while isinstance(command, click.Group):
        if not words or words[0].startswith("-"):
            break
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return f"no command {words[0]}"
        command, words = found, words[1:]
    context = click.Context(command, **command.context_settings)
    try:
        command.make_parser(context).parse_args(words)
    except click.UsageError as error:
        return error.format_message()
    return ""


def test_options_of_tubepet_exist():
    offenders = [
        f"{page}: {line}: {said}" for page, line in of("tubepet") if (said := complaint(line))
    ]
    assert not offenders, "\n".join(offenders)


def test_targets_of_make_exist():
    lines = (re.sub(r"<[^>]*>", "x", line).split()[1:] for _, line in of("make"))
    targets = {word for words in lines for word in words if "=" not in word}
    command = ["make", "--keep-going", "-n", *targets]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_modules_and_files_of_python_exist():
    """Files are ours, or the page writes them; what is behind -c is read by the test of names."""
    offenders = []
    for page, line in of("python"):
        first, *more = shlex.split(line)[1:]
        if first == "-m":
            is_there = importlib.util.find_spec(more[0]) is not None
        else:
            text = (ROOT / page).read_text(encoding="utf-8")
            is_there = first in ("-", "-c") or (ROOT / first).is_file() or f"> {first}" in text
        offenders += [f"{page}: {line}"] * (not is_there)
    assert not offenders, "\n".join(offenders)


def parsed(line: str):
    """Return the arguments of a line; Snakemake leaves with a message if one is unknown."""
    return parse_args(shlex.split(line.partition("#")[0].replace("...", ""))[1:])[1]


@pytest.mark.workflow
@pytest.mark.parametrize("config", ["config.yaml", "study.yaml"])
def test_options_and_targets_of_snakemake_exist(tmp_path, monkeypatch, config):
    """One plan for all targets that documents name with a config, and for what is default."""
    monkeypatch.chdir(ROOT)
    targets = {"all"}
    for _, line in of("snakemake"):
        arguments = parsed(line)
        named = [str(path) for path in arguments.configfile or ["config/config.yaml"]]
        if named == [f"config/{config}"]:
            targets |= {str(target) for target in arguments.targets}
    assert len(targets) > 1
    configs = ("--configfile", str(ROOT / "config" / config))
    done = snakemake(tmp_path, "-n", *sorted(targets), *configs)
    assert done.returncode == 0, f"{targets}\n{done.stdout[-3000:]}"
