"""Reconstruct the activity of one tube in frames (rule reconstruct_frames)."""

from tubepet import io, logs
from tubepet.reconstruct import frames
from tubepet.reconstruct.image import reconstruct_frames
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.read import image_note, read_acquisition, read_settings
from tubepet.types import Scanner, Volume

logs.start_log(snakemake.log[0])
files, params = dict(snakemake.input.items()), snakemake.params
use_threads(snakemake.threads)
measured, instrument = read_acquisition(
    files, Scanner(**params.scanner), params.background, params.duration_s
)
frames_s = frames.intervals(0.0, params.duration_s, params.frame_s, params.duration_s)
settings = read_settings(files, params.mlem)
images = reconstruct_frames(measured, instrument, settings, frames_s, 0.0, params.seed)
note = image_note(files, params.attenuation)
images = [Volume(image.array, image.grid, note) for image in images]
io.write_frames(snakemake.output.images, images, 0.0, params.frame_s)
