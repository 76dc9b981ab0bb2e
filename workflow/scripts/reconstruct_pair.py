"""Reconstruct the short and the long part of one acquisition (rule reconstruct_pair)."""

from tubepet import io, logs
from tubepet.reconstruct import calibrate, frames, identity, projector, psf
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.types import Scanner, Volume

logs.start_log(snakemake.log[0])
files, params = snakemake.input, snakemake.params
projector.use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
efficiency = calibrate.pair_efficiency(io.read_json(files.calibration))
geometric = io.read_volume(files.sensitivity)
identity.check_sensitivity(files.sensitivity, geometric.note, scanner, geometric.grid, efficiency)
is_modelled = params.background == "modelled"
images = frames.short_and_long(
    read_coincidences(files.coincidences, scanner),
    scanner,
    efficiency,
    geometric,
    io.read_volume(files.mu),
    params.short_s + params.long_s,
    params.short_s,
    half_life_s=0.0,
    **params.mlem,
    psf=psf.from_rows(io.read_json(files.resolution)["kernel"]),
    seed=params.seed,
    delayed=read_delayed(files.coincidences, scanner) if is_modelled else None,
)
note = f"Bq/mm3; cross sections: {io.read_json(files.stats)['tables']}"
for path, image in zip(snakemake.output, images, strict=True):
    io.write_volume(path, Volume(image.array, image.grid, note))
