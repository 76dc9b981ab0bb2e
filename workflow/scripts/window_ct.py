"""Window and resize one part of the CT slices (rule window_ct)."""

from tubepet import io, logs
from tubepet.ct import prepare

logs.start_log(snakemake.log[0])
params, size = snakemake.params, snakemake.params.slices_per_job
start = int(params.part) * size
chosen = io.read_table(snakemake.input.table)[start : start + size]
table = prepare.prepare(
    images_path=snakemake.output.images,
    table=chosen,
    source_dir=params.source_dir or params.standin_dir,
    file_format=params.file_format,
    window_hu=tuple(params.window_hu),
    num_pixels=params.num_pixels,
)
io.write_table(snakemake.output.table, table)
logs.log.info("%d slices in, %d out", len(chosen), len(table))
