"""Reconstruct the activity of one tube in frames (rule reconstruct_frames)."""

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
images = frames.reconstruct(
    read_coincidences(files.coincidences, scanner),
    scanner,
    efficiency,
    geometric,
    io.read_volume(files.mu),
    params.duration_s,
    frames.intervals(0.0, params.duration_s, params.frame_s, params.duration_s),
    half_life_s=0.0,
    **params.mlem,
    psf=psf.from_rows(io.read_json(files.resolution)["kernel"]),
    seed=params.seed,
    delayed=read_delayed(files.coincidences, scanner) if is_modelled else None,
)
note = f"Bq/mm3; cross sections: {io.read_json(files.stats)['tables']}"
images = [Volume(image.array, image.grid, note) for image in images]
io.write_frames(snakemake.output.images, images, 0.0, params.frame_s)
