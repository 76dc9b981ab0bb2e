"""Train one network on pairs of slices (rule train_enhancer)."""

from safetensors.torch import save_file

from tubepet import io, logs
from tubepet.enhance import pairs, train, trained

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
both = pairs.read(files)
fit, val = (pairs.select(*both, split) for split in ("train", "val"))
result = train.train(snakemake.wildcards.network, params.settings, fit, val, params.seed)
with io.atomic(output.weights) as part:
    save_file(result.weights, part)
told = trained.trained_on(
    io.read_table(files.table), io.read_json(files.info), params.scanner, params.protocol,
    params.image,
)  # fmt: skip
facts = {"format": trained.FORMAT, "arguments": result.arguments, "trained_on": told}
facts |= {"num_train": len(fit), "seed": params.seed, "code": params.code}
io.write_json(output.info, facts | params.settings | result.facts)
io.write_table(output.log, result.curves)
logs.log.info("%d training pairs in, 1 network out", len(fit))
