"""Draw what is true in every slice of the dataset (rule label_slices)."""

from dataclasses import asdict

from tubepet import io, logs
from tubepet.dataset import drawing
from tubepet.phantom import parts

logs.start_log(snakemake.log[0])
params, output = snakemake.params, snakemake.output
grid = drawing.SliceGrid(**params.grid)
table = io.read_table(snakemake.input.table)
truths = map(io.read_json, params.truths)
tubes = {truth["tube"]: parts.of_truth(truth, params.phantom) for truth in truths}
labels = drawing.draw_dataset(dict(output.items()), table, tubes, grid)
io.write_table(output.labels, labels)
population = drawing.Population(params.phantom, grid, params.num_slices, params.margin_mm)
io.write_json(output.population, asdict(population) | {"code": params.code})
logs.log.info("%d slices in, %d of them cut by a defect", len(table), labels["is_cut"].sum())
