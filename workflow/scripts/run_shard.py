"""Make all tubes of one shard (rule run_shard)."""

import json
from tempfile import TemporaryDirectory

from tubepet import io, logs
from tubepet.plan import shards

logs.start_log(snakemake.log[0])
params = snakemake.params
with TemporaryDirectory() as folder:
    # The whole config, for a whole workflow inside; what counts of it is in params.digest.
    io.write_text(f"{folder}/config.json", json.dumps(snakemake.config))  # in its order: it counts
    shards.run(params.targets, params.rules, f"{folder}/config.json", snakemake.threads)
sums = shards.checksums([*params.truths, *params.stats, *params.targets])
io.write_json(snakemake.output.manifest, sums)
logs.log.info("%d tubes in, %d files out", len(params.truths), len(params.targets))
