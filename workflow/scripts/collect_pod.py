"""Fit the probability of detection by class and duration (rule collect_pod)."""

import pandas as pd

from tubepet import io, logs
from tubepet.pod import figures, table

logs.start_log(snakemake.log[0])
output = snakemake.output
parts = pd.concat([io.read_table(path) for path in snakemake.input.batches], ignore_index=True)
facts = table.summary(parts, snakemake.params.false_call_rate)
table.log_summary(facts)
io.write_table(output.parts, parts)
io.write_json(output.facts, facts)
io.write_figure(output.figure, figures.draw_curves(parts, facts))
