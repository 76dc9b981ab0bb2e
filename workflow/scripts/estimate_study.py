"""Say how long the study will take (rule estimate_study)."""

from tubepet import io, logs
from tubepet.study import cost

logs.start_log(snakemake.log[0])
costs = [io.read_json(path) for path in snakemake.input.costs]
table = cost.estimate(costs, snakemake.params.num_runs)
io.write_table(snakemake.output.table, table)
logs.log.info(
    "%d trainings of %d variants: %.0f CPU-minutes, without scores",
    table["num_runs"].sum(), len(table), table["minutes"].sum(),
)  # fmt: skip
