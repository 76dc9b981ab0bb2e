"""Describe the slice data set in Croissant (rule describe_slices)."""

from pathlib import Path

from tubepet import logs
from tubepet.report import croissant

logs.start_log(snakemake.log[0])
croissant.write(Path(snakemake.output.metadata), map(Path, snakemake.input), snakemake.params.made)
logs.log.info("%d files described", len(snakemake.input))
