"""Fit the resolution to simulated points (rule calibrate_resolution)."""

from tubepet import io, logs
from tubepet.reconstruct import calibration, resolution
from tubepet.reconstruct.projection import blur
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.projection.response import Response
from tubepet.reconstruct.scanner import fingerprint, line_factors
from tubepet.simulate.water_phantoms import Engine
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
params = snakemake.params
use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
engine = Engine(scanner, params.delay_ns, params.seed, snakemake.threads)
efficiency = calibration.efficiency_of(io.read_json(snakemake.input.calibration), scanner)
known = {"engine": engine, "efficiency": efficiency, **params.image}
found = resolution.fit(**known, decays=params.decays)
by_slope, stretch = resolution.fit_by_slope(**known, decays=params.single_decays)
response = Response(by_slope, stretch, resolution.SENSITIVITY_STRIDE)
factors = line_factors.fit(**known, response=response, decays=params.line_decays)
io.write_json(
    snakemake.output.resolution,
    {
        "kernel": blur.chosen(params.psf, params.psf_fwhm_mm, found.kernel),
        "fitted": found.kernel,
        "by_slope": by_slope,
        "stretch": stretch,
        "line_factors": None if factors is None else factors.round(5).tolist(),
        "single_fwhm_mm": found.fwhm_mm,
        "gain": found.gain,
        "scanner": fingerprint.scanner_hash(scanner),
        "code": params.code,
    },
)
