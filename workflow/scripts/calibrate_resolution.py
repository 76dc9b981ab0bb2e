"""Fit the resolution to simulated points (rule calibrate_resolution)."""

from tubepet import io, logs
from tubepet.reconstruct import calibrate, identity, projector, psf, resolution
from tubepet.reconstruct.phantoms import Engine
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
params = snakemake.params
projector.use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
found = resolution.fit(
    Engine(scanner, params.delay_ns, params.seed, snakemake.threads),
    calibrate.pair_efficiency(io.read_json(snakemake.input.calibration)),
    **params.image,
    decays=params.decays,
)
io.write_json(
    snakemake.output.resolution,
    {
        "kernel": psf.chosen(params.psf, params.psf_fwhm_mm, found.kernel),
        "fitted": found.kernel,
        "single_fwhm_mm": found.fwhm_mm,
        "gain": found.gain,
        "scanner": identity.scanner_hash(scanner),
        "code": params.code,
    },
)
