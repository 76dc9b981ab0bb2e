"""Judge all observers on the test parts (rule collect_observers)."""

import pandas as pd

from tubepet import io, logs, rng
from tubepet.observers import compare, figures

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
judged = [table for table in map(io.read_table, files.tables) if table["p_value"].notna().all()]
parts = compare.with_score_test(pd.concat(judged, ignore_index=True))
for name, path in zip(params.names, files.scores, strict=True):
    scores = io.read_table(path).rename(columns={"score": name})
    parts = parts.merge(scores, on="part", validate="one_to_one")
observers = [compare.REFERENCE, "largest_z", *params.names]
facts = compare.summary(
    parts, observers, params.false_call_rate, rng.stream(params.seed, "observers", "bootstrap")
)
compare.log_summary(facts)
io.write_table(output.parts, parts)
io.write_json(output.facts, facts | {"train_parts": params.train_parts})
io.write_figure(output.figure, figures.draw_observers(parts, facts))
