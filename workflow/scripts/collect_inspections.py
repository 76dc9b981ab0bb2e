"""Compare the verdicts on all tubes with the truth (rule collect_inspections)."""

from tubepet import io, logs
from tubepet.inspect import figures, judge
from tubepet.pod.table import of_verdicts

logs.start_log(snakemake.log[0])
params, output = snakemake.params, snakemake.output
table = judge.judged(
    [io.read_json(path) for path in params.verdicts], [io.read_json(path) for path in params.truths]
)
io.write_table(output.table, table)
io.write_table(output.classes, of_verdicts(table))
io.write_figure(output.figure, figures.draw_verdicts(table))
