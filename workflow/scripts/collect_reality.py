"""Judge all arms on the same parts of reality (rule collect_reality)."""

import pandas as pd

from tubepet import io, logs, rng
from tubepet.observers import compare, figures

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
judged = [table for table in map(io.read_table, files.tables) if table["p_value"].notna().all()]
parts = compare.with_score_test(pd.concat(judged, ignore_index=True))
for name, path in zip(params.arms, files.scores, strict=True):
    scores = io.read_table(path).rename(columns={"score": name})
    parts = parts.merge(scores, on="part", validate="one_to_one")
facts = compare.summary(
    parts, [compare.REFERENCE, *params.arms], params.false_call_rate,
    rng.stream(params.seed, "reality", "bootstrap"), params.reference,
)  # fmt: skip
compare.log_summary(facts)
io.write_table(output.parts, parts)
io.write_json(output.facts, facts | {"arms": params.arms})
io.write_figure(output.figure, figures.draw_reality(facts, params.arms))
