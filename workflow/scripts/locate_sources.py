"""Fit a point or a line source to one tube's coincidences (rule locate_sources)."""

from tubepet import io, logs
from tubepet.reconstruct import acquisition, sources
from tubepet.reconstruct.projection import blur, joseph
from tubepet.reconstruct.read import read_calibrated
from tubepet.simulate.coincidences import read_coincidences
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
files, params = snakemake.input, snakemake.params
joseph.use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
efficiency, geometric = read_calibrated(dict(files.items()), scanner)
model = acquisition.model_acquisition(
    read_coincidences(files.coincidences, scanner),
    scanner,
    efficiency,
    geometric,
    io.read_volume(files.mu),
    params.duration_s,
    params.stride,
    blur.gaussian(params.fwhm_mm),
    None,
)
found = sources.locate(model.lines, geometric.grid, model.sensitivity_s, params.fwhm_mm)
io.write_json(snakemake.output.sources, sources.as_dict(found))
