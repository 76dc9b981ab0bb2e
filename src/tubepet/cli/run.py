"""`tubepet run`: run the workflow that is installed with this package."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import click

from tubepet.root import ROOT


def snakemake(arguments: Iterable[str]) -> list[str]:
    """Return the command that starts Snakemake on the installed workflow.

    Parameters
    ----------
    arguments : iterable of str
        As for snakemake; `--configfile` also takes names of configs that are installed with it.
    """
    words = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
    option = ""
    for word in arguments:
        option = word if word.startswith("-") else option
        named = ROOT / "config" / f"{word}.yaml"
        is_name = option == "--configfile" and not Path(word).exists() and named.is_file()
        words.append(str(named) if is_name else word)
    return words


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", metavar="[SNAKEMAKE_ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """Run the workflow, without a clone of its repository.

    Arguments are those of snakemake: targets, --directory DIR (where results go), --cores N,
    --configfile FILE (what differs from the default run), -n (only say what would run), and all
    others. As FILE, smoke, paper, literal and study name configs that come with tubepet. The exit
    code is that of snakemake.

    For instance: tubepet run enhance --directory results_smoke --cores 2 --configfile smoke
    """
    os.execv(sys.executable, snakemake(arguments))  # noqa: S606, signals reach Snakemake itself
