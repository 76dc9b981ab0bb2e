"""Keep some training slices (rule take_subset)."""

from tubepet import io, logs, rng
from tubepet.dataset import subset

logs.start_log(snakemake.log[0])
params, wildcards = snakemake.params, snakemake.wildcards
table = io.read_table(snakemake.input.table)
random = rng.stream(params.seed, "study", "subset", int(wildcards.i_seed))
kept = subset.take_slices(table, int(wildcards.num_train), random)
io.write_table(snakemake.output.table, kept)
logs.log.info("%d slices in, %d to train on", len(table), (kept["split"] == "train").sum())
