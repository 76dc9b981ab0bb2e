"""Sum the sensitivity image over all crystal pairs (rule compute_sensitivity)."""

import numpy as np

from tubepet import io, logs
from tubepet.reconstruct import calibration
from tubepet.reconstruct.projection import sensitivity
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.scanner import fingerprint
from tubepet.types import Grid, Scanner, Volume

logs.start_log(snakemake.log[0])
image = snakemake.params.image
grid = Grid.centred(
    (image["num_slices"], image["num_pixels"], image["num_pixels"]),
    (image["slice_mm"], image["pixel_mm"], image["pixel_mm"]),
)
use_threads(snakemake.threads)
facts = io.read_json(snakemake.input.calibration)
scanner = Scanner(**snakemake.params.scanner)
fingerprint.check_calibration(snakemake.input.calibration, facts, scanner)
efficiency = calibration.efficiency_of(facts, scanner)
total = sensitivity.geometric_sensitivity(scanner, grid, efficiency)
note = (
    f"mm3 (counts/s per Bq/mm3), no mu; model {fingerprint.model_hash(scanner, grid, efficiency)}"
)
io.write_volume(snakemake.output.sensitivity, Volume(total.astype(np.float32), grid, note))
