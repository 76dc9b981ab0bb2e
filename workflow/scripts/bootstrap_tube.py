"""Estimate the error of every voxel of one tube's image (rule bootstrap_tube)."""

from tubepet import io, logs
from tubepet.reconstruct import acquisition
from tubepet.reconstruct.projection import joseph
from tubepet.reconstruct.read import read_acquisition
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
files, params = snakemake.input, snakemake.params
joseph.use_threads(snakemake.threads)
error = acquisition.estimate_error(
    **read_acquisition(dict(files.items()), Scanner(**params.scanner), params.background),
    duration_s=params.duration_s,
    num_iterations=int(io.read_table(files.trace)["iteration"].max()),
    num_resamples=params.num_resamples,
    seed=params.seed,
    **params.mlem,
)
io.write_volume(snakemake.output.error, error)
