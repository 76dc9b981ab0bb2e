"""Draw the crystals of the real scanner (rule declare_reality)."""

from tubepet import io, logs
from tubepet.observers import reality
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
params = snakemake.params
how = reality.Reality(**params.reality)
table = reality.efficiencies(Scanner(**params.scanner), how, params.seed)
io.write_table(snakemake.output.efficiencies, table)
logs.log.info("%d crystals, %d dead", len(table), table["is_dead"].sum())
