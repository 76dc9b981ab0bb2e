"""Reconstruct phantoms with known answers (rule validate_reconstruction)."""

from tubepet import io, logs
from tubepet.reconstruct.projection import blur, joseph
from tubepet.reconstruct.read import read_calibrated
from tubepet.simulate.water_phantoms import Engine
from tubepet.types import Scanner
from tubepet.validate import reconstruction

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
joseph.use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
efficiency, geometric = read_calibrated(dict(files.items()), scanner)
bench = reconstruction.Bench(
    Engine(scanner, params.delay_ns, params.seed, snakemake.threads),
    efficiency,
    params.mlem | {"psf": blur.from_rows(io.read_json(files.resolution)["kernel"])},
    params.background == "modelled",
)
found = reconstruction.prove(bench, params.phantom, geometric)
io.write_figure(output.figure, reconstruction.draw(found))
io.write_json(output.facts, {key: value for key, value in found.items() if key != "image"})
