"""Make all tubes of one shard (rule run_shard)."""

import json
from tempfile import TemporaryDirectory

from tubepet import io, logs
from tubepet.plan import shards

logs.start_log(snakemake.log[0])
params = snakemake.params
with TemporaryDirectory() as folder:
    # The inner workflow needs the whole config; params.digest holds what its jobs depend on.
    io.write_text(f"{folder}/config.json", json.dumps(snakemake.config))  # order matters
    shards.run(params.targets, params.rules, f"{folder}/config.json", snakemake.threads)
sums = shards.checksums([*params.truths, *params.stats, *params.targets])
io.write_json(snakemake.output.manifest, sums)
logs.log.info("%d tubes in, %d files out", len(params.truths), len(params.targets))
