"""Write the reference of the command line, docs/commands.md, from `--help` (`make reference`)."""

from collections.abc import Iterator

import click

from tubepet.cli import main
from tubepet.root import ROOT

START = """# Commands

This page is what `--help` prints for `tubepet` and each of its commands. `make reference` writes
it.

`eval "$(_TUBEPET_COMPLETE=bash_source tubepet)"` completes commands in bash; zsh and fish alike.
Exit codes: 0 done, 1 a fault, 2 wrong input (one sentence), 3 a file cannot be read or written.
"""
WIDTH = 80


def commands_page() -> str:
    """Return the page of all commands, as Markdown."""
    sections = (
        f"\n## {context.command_path}\n\n```\n{context.get_help()}\n```\n"
        for context in _contexts(main, "tubepet", None)
    )
    return START + "".join(sections)


def _contexts(
    command: click.Command, name: str, parent: click.Context | None
) -> Iterator[click.Context]:
    """Yield the context of a command, then those of its subcommands, by name."""
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, **command.context_settings
    )
    yield context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None  # the name is listed
            yield from _contexts(found, inner, context)


if __name__ == "__main__":
    (ROOT / "docs/commands.md").write_text(commands_page(), encoding="utf-8")
