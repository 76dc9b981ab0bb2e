"""Compare all generators with held-out real slices (rule evaluate_models)."""

from tubepet import io, logs
from tubepet.dataset.slices import Slices
from tubepet.evaluate import figures, table, volumes

logs.start_log(snakemake.log[0])
given, output, params = snakemake.input, snakemake.output, snakemake.params
real = Slices.read(given.images, given.table, given.info)
samples = {m: io.read_array(p) for m, p in zip(params.models, given.samples, strict=True)}

whole = {m: io.read_array(p) for m, p in zip(params.with_volumes, given.volumes, strict=True)}
stacks = {m: images for m, images in samples.items() if m not in whole}

table1, facts = table.evaluate(samples, real, **params.evaluate, seed=params.seed)
io.write_table(output.table, table1)
io.write_json(output.metrics, facts | {"volume_columns": volumes.COLUMNS})
io.write_table(output.volumes, volumes.table(stacks, whole, real, params.seed))
test, train = real.of("test"), real.of("train")
closest = {name: samples[name][rows] for name, rows in facts["closest"].items()}
io.write_figure(output.samples, figures.draw_samples(test, samples, real.scale_bq_mm3))
io.write_figure(output.bars, figures.draw_table(table1))
io.write_figure(output.neighbours, figures.draw_neighbours(train, closest, real.scale_bq_mm3))
for statement in facts["statements"]:
    logs.log.warning(statement)
logs.log.info("%d sets of samples and %d slices in, 1 table out", len(samples), len(real.images))
