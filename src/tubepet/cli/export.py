"""`tubepet export`: write a trained generator as an ONNX file."""

import json
from pathlib import Path

import click

from tubepet.errors import InputError, shown


@click.command()
@click.option(
    "--model",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of a trained generator, for instance results/generate/dcgan.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="New file NAME.onnx.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what is in the file as JSON.")
def export(folder: Path, output: Path, as_json: bool) -> None:
    """Write a generator as ONNX, for programs without torch and tubepet.

    Inputs are random numbers, the output is in Bq/mm3; shapes, scale and pixel size are in the
    file's metadata. Models that one graph cannot carry are refused.
    """
    from tubepet.generate.export import OUTPUT, write_onnx
    from tubepet.generate.trained import read_generator

    if output.exists() or output.suffix != ".onnx":
        raise InputError(f"--output: got {output}, expected a new NAME.onnx")
    facts = write_onnx(output, read_generator(folder))
    inputs = ", ".join(json.loads(facts["inputs"]))
    click.echo(
        json.dumps(facts, indent=2)
        if as_json
        else shown(f"{output}: {inputs} -> {OUTPUT}, {output.stat().st_size / 1e6:.1f} MB")
    )
