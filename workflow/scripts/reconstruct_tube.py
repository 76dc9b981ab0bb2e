"""Reconstruct the activity of one tube (rule reconstruct_tube)."""

from tubepet import io, logs
from tubepet.reconstruct import calibrate, figures, identity, mlem, projector, psf
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.types import Scanner, Volume

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
projector.use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
efficiency = calibrate.pair_efficiency(io.read_json(files.calibration))
geometric = io.read_volume(files.sensitivity)
identity.check_sensitivity(files.sensitivity, geometric.note, scanner, geometric.grid, efficiency)
is_modelled = params.background == "modelled"
image, trace = mlem.reconstruct(
    read_coincidences(files.coincidences, scanner),
    scanner,
    efficiency,
    geometric,
    io.read_volume(files.mu),
    params.duration_s,
    **params.mlem,
    psf=psf.from_rows(io.read_json(files.resolution)["kernel"]),
    seed=params.seed,
    delayed=read_delayed(files.coincidences, scanner) if is_modelled else None,
)
note = f"Bq/mm3; cross sections: {io.read_json(files.stats)['tables']}"
io.write_volume(output.image, Volume(image.array, image.grid, note))
io.write_table(output.trace, trace)
tube = snakemake.wildcards.tube
io.write_figure(output.convergence, figures.draw_convergence(trace, tube))
io.write_figure(output.figure, figures.draw_image(image, io.read_volume(files.activity), tube))
