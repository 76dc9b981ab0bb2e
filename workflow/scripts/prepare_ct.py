"""Window, resize and split the CT slices (rule prepare_ct)."""

from tubepet import io, logs
from tubepet.ct import prepare
from tubepet.rng import stream

logs.start_log(snakemake.log[0])
params = snakemake.params
table, facts = prepare.prepare(
    images_path=snakemake.output.images,
    source_dir=params.source_dir or params.standin_dir,
    file_format=params.file_format,
    num_slices=params.num_slices,
    num_pixels=params.num_pixels,
    window_hu=tuple(params.window_hu),
    drop_noisy=params.drop_noisy,
    split=params.split,
    rng=stream(params.seed, "ct", "prepare"),
)
is_standin = not params.source_dir
facts |= {"is_standin": is_standin, "seed": params.seed, "code": params.code}
facts["source"] = (
    "procedural stand-in" if is_standin else f"{params.file_format} folder of the user"
)
io.write_table(snakemake.output.table, table)
io.write_json(snakemake.output.info, facts)
logs.log.info("%(num_slices_found)d slices in, %(num_slices)d out", facts)
