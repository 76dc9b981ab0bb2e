"""Estimate the error of every voxel of one tube's image (rule bootstrap_tube)."""

import pandas as pd

from tubepet import io, logs
from tubepet.reconstruct import calibrate, identity, mlem, projector, psf
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
files, params = snakemake.input, snakemake.params
projector.use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
efficiency = calibrate.pair_efficiency(io.read_json(files.calibration))
geometric = io.read_volume(files.sensitivity)
identity.check_sensitivity(files.sensitivity, geometric.note, scanner, geometric.grid, efficiency)
is_modelled = params.background == "modelled"
error = mlem.estimate_error(
    read_coincidences(files.coincidences, scanner),
    scanner,
    efficiency,
    geometric,
    io.read_volume(files.mu),
    params.duration_s,
    num_iterations=int(pd.read_csv(files.trace)["iteration"].max()),
    num_resamples=params.num_resamples,
    seed=params.seed,
    delayed=read_delayed(files.coincidences, scanner) if is_modelled else None,
    **params.mlem,
    psf=psf.from_rows(io.read_json(files.resolution)["kernel"]),
)
io.write_volume(snakemake.output.error, error)
