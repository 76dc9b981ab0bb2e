"""Train networks on the parts of one arm, and score others (rule train_on_reality)."""

from tubepet import io, logs, rng
from tubepet.observers import design, few_real, generated, read, reality
from tubepet.reconstruct.read import read_kernel

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
arm, seed = few_real.Arm(**params.arm), rng.derived_seed(params.seed, snakemake.wildcards.arm)
real, _ = read.read_parts(files.volumes, files.tables, [reality.REAL])
simulated, _ = read.read_parts(files.volumes, files.tables, [reality.SIMULATED])
judged, table = read.read_parts(files.volumes, files.tables, design.JUDGED)
how = generated.imaging(params.image, params.phantom, read_kernel(files.resolution))
known, groups = few_real.training_parts(real, simulated, arm, how, seed)
found = few_real.scores(known, groups, judged, **params.training, seed=seed)
io.write_table(output.scores, table[["part"]].assign(score=found))
logs.log.info("%d parts to learn from, %d scored", len(known), len(found))
