"""Train one network on pairs of slices (rule train_enhancer)."""

from safetensors.torch import save_file

from tubepet import io, logs
from tubepet.dataset.slices import Slices
from tubepet.enhance import pairs, train

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
both = [Slices.read(images, files.table, files.info) for images in (files.short, files.long)]
fit, val = (pairs.select(*both, split) for split in ("train", "val"))
result = train.train(snakemake.wildcards.network, params.settings, fit, val, params.seed)
with io.atomic(output.weights) as part:
    save_file(result.weights, part)
facts = {"arguments": result.arguments, "num_train": len(fit), "seed": params.seed}
io.write_json(output.info, facts | params.settings | result.facts | {"code": params.code})
io.write_table(output.log, result.curves)
logs.log.info("%d training pairs in, 1 network out", len(fit))
