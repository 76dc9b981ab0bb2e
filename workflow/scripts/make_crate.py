"""Describe the run as an RO-Crate (rule make_crate)."""

from pathlib import Path

from tubepet import logs
from tubepet.report import crate

logs.start_log(snakemake.log[0])
given, params = snakemake.input, snakemake.params
named = {**dict(given.items()), "images": params.images}
results = {what: [paths] if isinstance(paths, str) else paths for what, paths in named.items()}
results = {what: paths for what, paths in results.items() if paths}  # shards: maybe none
folder = Path(snakemake.output.metadata).parent
crate.write(folder, params.config, params.own_data, results)
logs.log.info("%d kinds of results described", len(results))
