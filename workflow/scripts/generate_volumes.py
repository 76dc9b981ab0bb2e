"""Generate whole volumes with one generator (rule generate_volumes)."""

from pathlib import Path

from tubepet import io, logs, rng
from tubepet.generate import trained

logs.start_log(snakemake.log[0])
params, name = snakemake.params, snakemake.wildcards.model
generator = trained.read_generator(Path(snakemake.input.generator).parent)
random = rng.stream(params.seed, "generate", name, "volumes")
volumes = trained.generate_volumes(generator, params.num_volumes, random)
io.write_array(snakemake.output.volumes, volumes)
logs.log.info("1 generator in, %d volumes out, mean %.4g Bq/mm3", len(volumes), volumes.mean())
