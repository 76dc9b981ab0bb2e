"""Train one network on pairs of slices (rule train_enhancer)."""

from safetensors.torch import save_file

from tubepet import io, logs
from tubepet.enhance import pairs, train

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
arrays = (io.read_array(files.short), io.read_array(files.long), io.read_table(files.table))
scale_bq_mm3 = io.read_json(files.info)["scale_bq_mm3"]
fit, val = (pairs.select(*arrays, scale_bq_mm3, split) for split in ("train", "val"))
result = train.train(snakemake.wildcards.network, params.settings, fit, val, params.seed)
with io.atomic(output.weights) as part:
    save_file(result.weights, part)
facts = {"arguments": result.arguments, "num_train": len(fit), "seed": params.seed}
io.write_json(output.info, facts | params.settings | result.facts | {"code": params.code})
io.write_table(output.log, result.curves)
logs.log.info("%d training pairs in, 1 network out", len(fit))
