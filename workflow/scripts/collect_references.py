"""Cut the long images of all tubes into the slices of the data set (rule collect_references)."""

from tubepet import io, logs
from tubepet.enhance import pairs

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
info = pairs.collect_long(
    output.long,
    (io.read_volume(path) for path in params.references),
    io.read_table(files.table),
    io.read_json(files.info),
    params.scale_quantile,
)
io.write_json(output.info, info | {"code": params.code})
logs.log.info("%d tubes in, scale %.4g Bq/mm3", len(params.references), info["scale_bq_mm3"])
