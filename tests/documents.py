"""Extract from the documents what a reader is told to type, and the output that they promise."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "config/README.md",
    *sorted((ROOT / "docs").glob("**/*.md")),
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)
# What is no sentence: blocks, tables, headings, pictures, formulas
NO_PROSE = re.compile(r"^```.*?^```$|^(?:\||#|!\[|    )[^\n]*", re.M | re.S)
ITEM = re.compile(r"^\s*(?:[-*]|\d+\.) ", re.M)
END_OF_SENTENCE = re.compile(r"(?<=[.?!])[*_\")]*\s+(?=[*_\"(\[`]*[A-Z0-9`])")


@dataclass(frozen=True)
class Step:
    """A block of commands and the last lines that it prints, if the page says so."""

    page: Path
    commands: str
    printed: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.commands.splitlines()[0]}"


def steps(page: Path) -> list[Step]:
    """Return the `bash` and `python` blocks of a page; `text` is what the one before prints."""
    found: list[Step] = []
    for kind, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if kind in ("bash", "python"):
            is_bash = kind == "bash"
            found.append(Step(page, text if is_bash else f"python - <<'END'\n{text}END\n", None))
        elif kind == "text":
            found[-1] = Step(page, found[-1].commands, text)
    return found


def sentences(page: Path) -> list[list[str]]:
    """Return the words of each sentence of a page's paragraphs and list items.

    A sentence ends with a full stop, question or exclamation mark before a capital, digit or code,
    or with its paragraph or list item. Code and the text of links count as their words do.
    """
    text = NO_PROSE.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(r"\]\([^)]*\)", "]", text)
    paragraphs = re.split(r"\n\s*\n", ITEM.sub("\n\n", text))
    found = (one.split() for part in paragraphs for one in END_OF_SENTENCE.split(part.strip()))
    return [words for words in found if words]


def lines(commands: str) -> list[str]:
    """Return the single commands of a block, without comments and here-documents."""
    commands = re.sub(r"<<'?END'?\n.*?^END$", "", commands, flags=re.M | re.S)
    joined = re.sub(r"\\\n\s*", "", commands)
    bare = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
    return [line for line in bare if line]


def ends_with(output: str, printed: str) -> bool:
    """Whether the last lines are the ones expected; `...` is anything in a line, or lines."""
    pattern = ""
    for line in printed.splitlines():
        within = re.escape(line).replace(re.escape("..."), ".*")
        pattern += r"(?:.*\n)*?" if line == "..." else within + r"\n"
    return re.search(rf"^{pattern}\Z", output.rstrip("\n") + "\n", re.M) is not None


def run(step: Step, folder: Path, path: str = "") -> str:
    """Run a block in bash as a reader does; return what it prints.

    Raises
    ------
    AssertionError
        If a command fails, or the last lines are not those of the page.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step.commands],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        env=os.environ | {"PATH": path or os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, f"{step}\n{done.stdout[-5000:]}"
    assert step.printed is None or ends_with(done.stdout, step.printed), (
        f"{step}\nexpected at the end:\n{step.printed}\ngot:\n{done.stdout[-3000:]}"
    )
    return done.stdout


def reader_folder(folder: Path, run_folder: Path) -> str:
    """Make of `folder` what a reader sees in the repository after `make smoke`; return the PATH.

    Parameters
    ----------
    folder : Path
        Empty.
    run_folder : Path
        Of the smoke run; linked.
    """
    for name in ("config", "profiles"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "results_smoke").symlink_to(run_folder)
    programs = folder / ".programs"
    programs.mkdir()
    snakemake = programs / "snakemake"  # which would look for a Snakefile here
    snakemake.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m snakemake -s {ROOT / "Snakefile"} "$@"\n'
    )
    snakemake.chmod(0o755)
    return f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
