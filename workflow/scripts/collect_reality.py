"""Judge all arms on the same parts of reality (rule collect_reality)."""

from tubepet import io, logs, rng
from tubepet.observers import compare, figures

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
scores = dict(zip(params.arms, map(io.read_table, files.scores), strict=True))
parts = compare.scored(list(map(io.read_table, files.tables)), scores)
facts = compare.summary(
    parts, [compare.REFERENCE, *params.arms], params.false_call_rate,
    rng.stream(params.seed, "reality", "bootstrap"), params.reference,
)  # fmt: skip
compare.log_summary(facts)
io.write_table(output.parts, parts)
io.write_json(output.facts, facts | {"arms": params.arms})
io.write_figure(output.figure, figures.draw_reality(facts, params.arms))
