"""Cut short and long images of all tubes into slices (rule collect_pairs)."""

from tubepet import io, logs
from tubepet.enhance import pairs

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
table, info = pairs.collect_pairs(
    output.short,
    output.long,
    (io.read_volume(path) for path in files.short),
    (io.read_volume(path) for path in files.long),
    [io.read_json(path) for path in files.truths],
    params.split,
    params.slice_margin_mm,
    params.scale_quantile,
    params.seed,
)
io.write_table(output.table, table)
io.write_json(output.info, info | {"code": params.code})
