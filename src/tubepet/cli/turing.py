"""`tubepet turing`: the visual Turing test of the report."""

import json
from pathlib import Path

import click

from tubepet import io
from tubepet.report import turing as test

SEED = 2020
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def turing() -> None:
    """Visual Turing test (results/report/turing.html)."""


@turing.command()
@click.argument("paths", metavar="RESULT.json...", nargs=-1, required=True, type=FILE)
@click.option("--key", type=FILE, help="turing_key.csv beside the page: checks the truth too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def score(paths: tuple[Path, ...], key: Path | None, as_json: bool) -> None:
    """Pool the results of several readers of one page.

    A file that was changed after its download is refused by its checksum. That is a guard against
    mistakes, not against fraud: nothing proves that a person gave the answers, and who can
    program can write a new checksum. The truth in the files is compared among them and with --key.
    """
    results = {path: test.read_answers(path) for path in paths}
    answers = test.pool(results, io.read_table(key) if key else None)
    scores = test.score(answers, SEED)
    click.echo(json.dumps(scores, indent=2) if as_json else test.as_text(scores))
