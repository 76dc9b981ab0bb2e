"""Reconstruct the activity of one tube (rule reconstruct_tube)."""

from tubepet import io, logs
from tubepet.reconstruct import figures
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.image import reconstruct
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.read import image_note, read_acquisition, read_settings
from tubepet.types import Scanner, Volume

logs.start_log(snakemake.log[0])
files, params, output = dict(snakemake.input.items()), snakemake.params, snakemake.output
use_threads(snakemake.threads)
measured, instrument = read_acquisition(
    files, Scanner(**params.scanner), params.background, params.duration_s
)
settings = read_settings(files, params.mlem)
model = model_acquisition(measured, instrument, settings)
image, trace = reconstruct(model, settings, params.seed)
note = image_note(files, params.attenuation)
io.write_volume(output.image, Volume(image.array, image.grid, note))
io.write_table(output.trace, trace)
tube = snakemake.wildcards.tube
io.write_figure(output.convergence, figures.draw_convergence(trace, tube))
io.write_figure(output.figure, figures.draw_image(image, io.read_volume(files["activity"]), tube))
