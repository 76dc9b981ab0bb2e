"""Measure GATE's counts by production cut in the crystals (rule validate_convergence)."""

from pathlib import Path

from tubepet import io, logs
from tubepet.types import Scanner
from tubepet.validate import convergence

logs.start_log(snakemake.log[0])
params, output = snakemake.params, snakemake.output
result = convergence.measure(
    Scanner(**params.scanner),
    params.physics_list,
    io.read_json(snakemake.input.g4data),
    params.seed,
    Path(output.facts).parent,
)
io.write_json(output.facts, result)
io.write_figure(output.figure, convergence.draw(result))
