"""Reconstruct the long acquisition of one tube (rule reconstruct_reference)."""

from tubepet import io, logs
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.image import reconstruct
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.read import image_note, read_acquisition, read_settings
from tubepet.types import Scanner, Volume

logs.start_log(snakemake.log[0])
files, params = dict(snakemake.input.items()), snakemake.params
use_threads(snakemake.threads)
measured, instrument = read_acquisition(
    files, Scanner(**params.scanner), params.background, params.duration_s
)
settings = read_settings(files, params.mlem)
image, _ = reconstruct(model_acquisition(measured, instrument, settings), settings, params.seed)
note = image_note(files, params.attenuation)
io.write_volume(snakemake.output.image, Volume(image.array, image.grid, note))
