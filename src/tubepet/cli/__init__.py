"""The command `tubepet` and its subcommands, each in a module of its own.

Exit codes: 0 done; 1 a fault of tubepet, with its traceback; 2 an input or option cannot be used
(one sentence says why); 3 a file cannot be read or written (no space, no permission).
"""

import logging
import sys
from importlib import import_module
from typing import Any

import click

from tubepet.errors import InputError, of_system
from tubepet.logs import log

# The first sentence of each command's help (a test compares). With it the list of commands needs no
# import of them.
SENTENCES = {
    "dicom": "Write an image in Bq/mm3 as DICOM PET in Bq/ml.",
    "doctor": "Say what is installed and what each absence means; exit code 1 if nothing can run.",
    "enhance": "Make of an image of a short acquisition what a long one might show.",
    "export": "Write a generator as ONNX, for programs without torch and tubepet.",
    "generate": "Make images with a trained generator, each with its labels.",
    "inspect": "Say whether a part has a defect, where, of what kind, how large, how sure.",
    "numbers": "Print the numbers behind a PNG of tubepet as CSV.",
    "plan": "Say which defects an acquisition of a part would find, before it is made.",
    "reconstruct": "Make an image from coincidences.",
    "run": "Run the workflow, without a clone of its repository.",
    "status": "Count the files of every rule: done, running, outdated, missing.",
    "tables": "Fetch the official Geant4 tables, or say which are in use.",
    "turing": "Visual Turing test (results/report/turing.html).",
}
MODULES = {"status": "doctor"}  # of commands that are not in the module of their name


class Commands(click.Group):
    """A group of commands that turns expected errors into one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(SENTENCES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command and return it; None if there is none of this name."""
        if cmd_name not in SENTENCES:
            return None
        module = import_module(f"tubepet.cli.{MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands as click does, without importing them."""
        width = formatter.width - 6 - max(map(len, SENTENCES))
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, click.Command(name, help=says).get_short_help_str(width))
                    for name, says in SENTENCES.items()
                ]
            )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; see the module for the exit codes."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)
        except OSError as error:
            if (sentence := of_system(error)) is None:
                raise
            click.echo(f"error: {sentence}", err=True)
            sys.exit(3)


@click.group(cls=Commands, epilog="Exit codes: 0 done, 1 fault, 2 wrong input, 3 file or disk.")
@click.version_option(package_name="tubepet")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but results and errors.")
def main(quiet: bool) -> None:
    """Positron images (PET) of tubes: reconstruct, and use the results of the workflow.

    The workflow itself is run by `make run` or snakemake in a clone, and by `tubepet run` anywhere.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.ERROR if quiet else logging.INFO)
