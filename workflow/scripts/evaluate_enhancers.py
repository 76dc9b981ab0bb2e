"""Judge networks and filters on test tubes (rule evaluate_enhancers)."""

import torch

from tubepet import io, logs, rng
from tubepet.enhance import evaluate, figures, pairs, quality
from tubepet.evaluate import similarity

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
torch.set_num_threads(1)  # the same sums in the same order on every machine
both = pairs.read(files)
scale_bq_mm3 = both[0].scale_bq_mm3
val, test = (pairs.select(*both, split) for split in ("val", "test"))
infos = {name: io.read_json(path) for name, path in zip(params.names, files.infos, strict=True)}
networks = {
    name: quality.load_enhancer(path, infos[name]["arguments"])
    for name, path in zip(params.names, files.weights, strict=True)
}
others = {
    name: evaluate.read_made(*paths)
    for name, *paths in zip(params.others, files.slices, files.facts, strict=True)
}
draws = rng.stream(params.seed, "enhance", "bootstrap")
table, metrics, images = evaluate.compare(networks, val, test, others, draws)
costs = ("num_steps", "operations_per_step", "num_parameters")
about = {name: {key: facts[key] for key in costs} for name, facts in infos.items()}
facts = {"durations_s": params.durations_s, "scale_bq_mm3": scale_bq_mm3, "networks": about}
facts["ms_ssim_scales"] = similarity.num_scales(test.long.shape[-1])
io.write_json(
    output.metrics, facts | {"num_tubes": io.read_json(files.info)["num_tubes"]} | metrics
)
io.write_table(output.table, table)
io.write_figure(output.figure, figures.draw_methods(images, test, scale_bq_mm3))
logs.log.info("%d networks in, %d methods compared", len(networks), len(table))
