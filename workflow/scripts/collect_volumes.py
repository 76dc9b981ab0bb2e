"""Collect whole volumes of training tubes and their drawings (rule collect_volumes)."""

from tubepet import io, logs
from tubepet.dataset import collect
from tubepet.dataset.drawing import SliceGrid
from tubepet.phantom import parts

logs.start_log(snakemake.log[0])
params, output = snakemake.params, snakemake.output
truths = list(map(io.read_json, params.truths))
tubes = {truth["tube"]: parts.of_truth(truth, params.phantom) for truth in truths}
images = {truth["tube"]: path for truth, path in zip(truths, params.images, strict=True)}
table = collect.collect_volumes(
    {"volumes": output.volumes, "fluid": output.fluid},
    io.read_table(snakemake.input.table),
    lambda name: io.read_volume(images[name]),
    tubes,
    SliceGrid(**params.grid),
)
io.write_table(output.table, table)
logs.log.info("%d tubes in, %d volumes out", len(truths), len(table))
