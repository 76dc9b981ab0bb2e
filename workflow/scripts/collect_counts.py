"""Gather the counts of all tubes in one table (rule collect_counts)."""

from tubepet import io, logs
from tubepet.simulate import coincidences

logs.start_log(snakemake.log[0])
table = coincidences.count_table([io.read_json(path) for path in snakemake.params.stats])
io.write_table(snakemake.output.table, table)
logs.log.info("%d simulations in, %d coincidences in all", len(table), table["prompts"].sum())
