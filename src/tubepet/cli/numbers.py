"""`tubepet numbers`: print the numbers of a figure, which its PNG contains."""

from pathlib import Path

import click

from tubepet.errors import InputError


@click.command()
@click.argument("picture", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def numbers(picture: Path) -> None:
    """Print the numbers behind a PNG of tubepet as CSV."""
    from tubepet.errors import reading
    from tubepet.figure_data import of_png

    with reading(picture, "a PNG"):
        table = of_png(picture)
    if table is None:
        raise InputError(f"{picture}: got a picture without numbers, expected one of a run")
    click.echo(table.to_csv(index=False), nl=False)
