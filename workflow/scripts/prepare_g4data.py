"""Find or compute the data tables of Geant4 (rule prepare_g4data)."""

from pathlib import Path

from tubepet import io, logs
from tubepet.simulate import g4data

logs.start_log(snakemake.log[0])
facts = g4data.prepare(
    snakemake.params.choice, snakemake.params.official_dir, Path(snakemake.output.folder)
)
io.write_json(snakemake.output.facts, facts)
logs.log.info("%s tables. %s", facts["tables"], facts["note"])
