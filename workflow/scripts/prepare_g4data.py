"""Find or compute the data tables of Geant4 (rule prepare_g4data)."""

from pathlib import Path

from tubepet import io, logs
from tubepet.simulate.geant4 import em_tables

logs.start_log(snakemake.log[0])
facts = em_tables.prepare(
    snakemake.params.choice, snakemake.params.official_dir, Path(snakemake.output.folder)
)
io.write_json(snakemake.output.facts, facts)
logs.log.info("%s tables. %s", facts["tables"], facts["note"])
