"""Reconstruct the short and the long part of one acquisition (rule reconstruct_pair).

They share no event, so that what is noise in one is not in the other.
"""

from tubepet import io, logs
from tubepet.reconstruct.image import reconstruct_frames
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.read import image_note, read_acquisition, read_settings
from tubepet.types import Scanner, Volume

logs.start_log(snakemake.log[0])
files, params = dict(snakemake.input.items()), snakemake.params
use_threads(snakemake.threads)
duration_s = params.short_s + params.long_s
measured, instrument = read_acquisition(
    files, Scanner(**params.scanner), params.background, duration_s
)
frames_s = [(0.0, params.short_s), (params.short_s, duration_s)]
settings = read_settings(files, params.mlem)
images = reconstruct_frames(measured, instrument, settings, frames_s, 0.0, params.seed)
note = image_note(files, params.attenuation)
for path, image in zip(snakemake.output, images, strict=True):
    io.write_volume(path, Volume(image.array, image.grid, note))
