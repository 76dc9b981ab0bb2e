"""The command `tubepet`: what can be done without the workflow, and with its results.

Exit codes: 0 done; 1 a fault of tubepet, with its traceback; 2 something given cannot be used (one
sentence says what); 3 a file cannot be read or written (no room, no permission).
"""

import logging
import sys
from typing import Any

import click

from tubepet.cli.dicom import dicom
from tubepet.cli.doctor import doctor, status
from tubepet.cli.enhance import enhance
from tubepet.cli.export import export
from tubepet.cli.generate import generate
from tubepet.cli.inspect import inspect
from tubepet.cli.numbers import numbers
from tubepet.cli.plan import plan
from tubepet.cli.reconstruct import reconstruct
from tubepet.cli.tables import tables
from tubepet.cli.turing import turing
from tubepet.errors import InputError, of_system
from tubepet.logs import log


class Commands(click.Group):
    """A group of commands whose expected errors are one sentence and an exit code."""

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

    The workflow itself is run by `make run` or snakemake.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.ERROR if quiet else logging.INFO)


COMMANDS = (
    reconstruct, inspect, plan, enhance, generate, export, dicom, turing, numbers, tables, doctor,
    status,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)
