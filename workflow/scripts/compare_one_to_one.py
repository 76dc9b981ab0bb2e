"""Lay drawing, images and indications of test tubes side by side (rule compare_one_to_one)."""

import torch

from tubepet import io, logs
from tubepet.enhance import figures, one_to_one, pairs, quality

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
torch.set_num_threads(1)  # the same sums in the same order on every machine
short, long = pairs.read(files)
truths = [io.read_json(path) for path in params.truths]
found = one_to_one.Findings(
    io.read_table(files.verdicts),
    {tube: io.read_json(path) for tube, path in zip(params.tubes, params.found, strict=True)},
    dict(zip(params.tubes, params.maps, strict=True)),
)
network = quality.load_enhancer(files.weights, io.read_json(files.facts)["arguments"])
compared = one_to_one.compare(network, short, long, truths, found)
io.write_table(output.table, compared.tubes)
defect = short.drawn(files.defect)
rows = one_to_one.rows(compared, short, defect, truths, params.phantom, found)
io.write_figure(output.figure, figures.draw_one_to_one(rows, *params.durations_s))
logs.log.info("%d test tubes in, %d of them shown", len(compared.tubes), len(rows))
