"""Cut the images of all tubes into the slice dataset (rule collect_slices)."""

from tubepet import io, logs, rng
from tubepet.dataset import collect

logs.start_log(snakemake.log[0])
files, params = snakemake.input, snakemake.params
table, info = collect.collect_slices(
    snakemake.output.slices,
    (io.read_volume(path) for path in params.images),
    [io.read_json(path) for path in params.truths],
    params.split,
    params.slice_margin_mm,
    params.scale_quantile,
    rng.stream(params.seed, "reconstruct", "split"),
)
io.write_table(snakemake.output.table, table)
tables = sorted({io.read_json(path)["tables"] for path in params.stats})
io.write_json(snakemake.output.info, info | {"tables": tables, "code": params.code})
