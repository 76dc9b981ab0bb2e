"""Reconstruct phantoms with known answers (rule validate_reconstruction)."""

from tubepet import io, logs
from tubepet.reconstruct import projector, proof, psf
from tubepet.reconstruct.files import read_calibrated
from tubepet.reconstruct.phantoms import Engine
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
projector.use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
efficiency, geometric = read_calibrated(dict(files.items()), scanner)
bench = proof.Bench(
    Engine(scanner, params.delay_ns, params.seed, snakemake.threads),
    efficiency,
    params.mlem | {"psf": psf.from_rows(io.read_json(files.resolution)["kernel"])},
    params.background == "modelled",
)
found = proof.prove(bench, params.phantom, geometric)
io.write_figure(output.figure, proof.draw(found))
io.write_json(output.facts, {key: value for key, value in found.items() if key != "image"})
