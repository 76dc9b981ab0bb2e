"""Reconstruct phantoms with known answers (rule validate_reconstruction)."""

from tubepet import io, logs
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.read import read_instrument, read_settings
from tubepet.simulate.water_phantoms import Engine
from tubepet.types import Scanner
from tubepet.validate import reconstruction

logs.start_log(snakemake.log[0])
files, params, output = dict(snakemake.input.items()), snakemake.params, snakemake.output
use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
bench = reconstruction.Bench(
    Engine(scanner, params.delay_ns, params.seed, snakemake.threads),
    read_instrument(files, scanner),
    read_settings(files, params.mlem),
    params.background == "modelled",
)
found = reconstruction.prove(bench, params.phantom)
io.write_figure(output.figure, reconstruction.draw(found))
io.write_json(output.facts, {key: value for key, value in found.items() if key != "image"})
