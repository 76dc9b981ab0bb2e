"""Judge all observers on the test parts (rule collect_observers)."""

from tubepet import io, logs, rng
from tubepet.observers import compare, figures

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
scores = dict(zip(params.names, map(io.read_table, files.scores), strict=True))
parts = compare.scored(list(map(io.read_table, files.tables)), scores)
observers = [compare.REFERENCE, "largest_z", *params.names]
facts = compare.summary(
    parts, observers, params.false_call_rate, rng.stream(params.seed, "observers", "bootstrap")
)
compare.log_summary(facts)
io.write_table(output.parts, parts)
io.write_json(output.facts, facts | {"train_parts": params.train_parts})
io.write_figure(output.figure, figures.draw_observers(parts, facts))
