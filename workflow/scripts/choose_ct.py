"""List the CT slices, split and draw them (rule choose_ct)."""

from tubepet import io, logs
from tubepet.ct import prepare
from tubepet.rng import stream

logs.start_log(snakemake.log[0])
params = snakemake.params
table, facts = prepare.choose(
    source_dir=params.source_dir or params.standin_dir,
    file_format=params.file_format,
    num_slices=params.num_slices,
    drop_noisy=params.drop_noisy,
    split=params.split,
    rng=stream(params.seed, "ct", "prepare"),
    patient=params.patient,
    allow_partial=params.allow_partial,
)
io.write_table(snakemake.output.table, table)
io.write_json(snakemake.output.info, facts)
logs.log.info("%(num_slices_found)d slices in, %(num_slices)d out", facts)
