"""Fit a point or a line source to one tube's coincidences (rule locate_sources)."""

from tubepet import io, logs
from tubepet.reconstruct import sources
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.problem import Settings
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.read import read_acquisition
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
files, params = dict(snakemake.input.items()), snakemake.params
use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
background = "tail_fit" if scanner.is_even_ring else "modelled"
measured, instrument = read_acquisition(files, scanner, background, params.duration_s)
settings = Settings(num_iterations=0, sensitivity_stride=params.stride)
model = model_acquisition(measured, instrument, settings)
found = sources.locate(model, params.fwhm_mm)
io.write_json(snakemake.output.sources, sources.as_dict(found))
