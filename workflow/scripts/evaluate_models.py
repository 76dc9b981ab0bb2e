"""Compare all generators with held-out real slices (rule evaluate_models)."""

from tubepet import io, logs
from tubepet.dataset.slices import RealSlices
from tubepet.evaluate import figures, table

logs.start_log(snakemake.log[0])
given, output, params = snakemake.input, snakemake.output, snakemake.params
info, slices = io.read_json(given.info), io.read_table(given.table)
real = RealSlices(
    images=io.read_array(given.images),
    split=slices["split"].to_numpy(str),
    tube=slices["tube"].to_numpy(str),
    scale_bq_mm3=info["scale_bq_mm3"],
)
samples = {m: io.read_array(p) for m, p in zip(params.models, given.samples, strict=True)}

table1, facts = table.evaluate(samples, real, **params.evaluate, seed=params.seed)
io.write_table(output.table, table1)
io.write_json(output.metrics, facts)
test, train = real.of("test"), real.of("train")
closest = {name: samples[name][rows] for name, rows in facts["closest"].items()}
io.write_figure(output.samples, figures.draw_samples(test, samples, real.scale_bq_mm3))
io.write_figure(output.bars, figures.draw_table(table1))
io.write_figure(output.neighbours, figures.draw_neighbours(train, closest, real.scale_bq_mm3))
for statement in facts["statements"]:
    logs.log.warning(statement)
logs.log.info("%d sets of samples and %d slices in, 1 table out", len(samples), len(slices))
