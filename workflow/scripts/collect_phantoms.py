"""Gather what is known of all tubes in one table (rule collect_phantoms)."""

import pandas as pd

from tubepet import io, logs
from tubepet.phantom import maps

logs.start_log(snakemake.log[0])
rows = [maps.table_row(io.read_json(path)) for path in snakemake.params.truths]
io.write_table(snakemake.output.table, pd.DataFrame(rows))
logs.log.info("%d tubes in, %d rows out", len(snakemake.params.truths), len(rows))
