import click
import pytest
from click.testing import CliRunner

from tubepet.cli import main
from tubepet.cli.ranges import Number


@pytest.mark.parametrize("word", ["nan", "inf", "-inf", "1e999", "-1", "0"])
def test_numbers_are_finite_and_within_bounds(word) -> None:
    @click.command()
    @click.option("--size", type=Number(min=0, min_open=True))
    def command(size: float) -> None:
        click.echo(size)

    done = CliRunner().invoke(command, ["--size", word])
    assert done.exit_code == 2 and "Invalid value for '--size'" in done.output
    assert CliRunner().invoke(command, ["--size", "2.5"]).output == "2.5\n"


def test_no_command_takes_nan() -> None:
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        for option in command.params:
            is_number = isinstance(option.type, click.types.FloatParamType)
            assert not is_number or isinstance(option.type, Number), (name, option.name)
