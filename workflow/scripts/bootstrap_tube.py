"""Estimate the error of every voxel of one tube's image (rule bootstrap_tube)."""

from tubepet import io, logs
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.image import estimate_error
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.read import read_acquisition, read_settings
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
files, params = dict(snakemake.input.items()), snakemake.params
use_threads(snakemake.threads)
measured, instrument = read_acquisition(
    files, Scanner(**params.scanner), params.background, params.duration_s
)
num_iterations = int(io.read_table(files["trace"])["iteration"].max())
settings = read_settings(files, {**params.mlem, "num_iterations": num_iterations})
model = model_acquisition(measured, instrument, settings)
error = estimate_error(model, settings, params.num_resamples, params.seed)
io.write_volume(snakemake.output.error, error)
