"""Reconstruct the short and the long part of one acquisition (rule reconstruct_pair)."""

from tubepet import io, logs
from tubepet.reconstruct import frames
from tubepet.reconstruct.projection import joseph
from tubepet.reconstruct.read import read_acquisition
from tubepet.types import Scanner, Volume

logs.start_log(snakemake.log[0])
files, params = snakemake.input, snakemake.params
joseph.use_threads(snakemake.threads)
images = frames.short_and_long(
    **read_acquisition(dict(files.items()), Scanner(**params.scanner), params.background),
    duration_s=params.short_s + params.long_s,
    short_s=params.short_s,
    half_life_s=0.0,
    seed=params.seed,
    **params.mlem,
)
note = f"Bq/mm3; cross sections: {io.read_json(files.stats)['tables']}"
for path, image in zip(snakemake.output, images, strict=True):
    io.write_volume(path, Volume(image.array, image.grid, note))
