"""Reconstruct the activity of one tube in frames (rule reconstruct_frames)."""

from tubepet import io, logs
from tubepet.reconstruct import frames
from tubepet.reconstruct.projection import joseph
from tubepet.reconstruct.read import read_acquisition
from tubepet.types import Scanner, Volume

logs.start_log(snakemake.log[0])
files, params = snakemake.input, snakemake.params
joseph.use_threads(snakemake.threads)
images = frames.reconstruct(
    **read_acquisition(dict(files.items()), Scanner(**params.scanner), params.background),
    duration_s=params.duration_s,
    frames_s=frames.intervals(0.0, params.duration_s, params.frame_s, params.duration_s),
    half_life_s=0.0,
    seed=params.seed,
    **params.mlem,
)
note = f"Bq/mm3; cross sections: {io.read_json(files.stats)['tables']}"
images = [Volume(image.array, image.grid, note) for image in images]
io.write_frames(snakemake.output.images, images, 0.0, params.frame_s)
