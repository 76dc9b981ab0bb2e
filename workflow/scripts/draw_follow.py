"""Follow one test part from its drawing to its indication (rule draw_follow)."""

import torch

from tubepet import io, logs
from tubepet.enhance import one_to_one, pairs, quality
from tubepet.inspect.part import of_truth
from tubepet.report import follow

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
torch.set_num_threads(1)  # the same sums in the same order on every machine
short, long = pairs.read(files)
tube = one_to_one.chosen(io.read_table(files.compared))[0]
i_tube = params.tubes.index(tube)
network = quality.load_enhancer(files.weights, io.read_json(files.facts)["arguments"])
truth = io.read_json(params.truths[i_tube])
part = follow.Followed(
    labels=of_truth(truth, params.phantom).labels,
    images=follow.images_of(tube, network, short, long),
    score_map=io.read_volume(params.maps[i_tube]),
    defect=short.drawn(files.defect)[short.tubes[tube]],
    truth=truth,
    found=io.read_json(params.found[i_tube]),
)
io.write_figure(output.figure, follow.draw_follow(part, *params.durations_s))
io.write_json(output.facts, follow.facts(part))
logs.log.info("%s followed", tube)
