"""Join the parts of the CT slices (rule prepare_ct)."""

import pandas as pd

from tubepet import io, logs
from tubepet.ct import prepare

logs.start_log(snakemake.log[0])
files, params = snakemake.input, snakemake.params
num = prepare.join(snakemake.output.images, files.images)
tables = [io.read_table(path) for path in files.tables]
io.write_table(snakemake.output.table, pd.concat(tables, ignore_index=True))
is_standin = not params.source_dir
source = "procedural stand-in" if is_standin else f"{params.file_format} folder of the user"
facts = io.read_json(files.info) | {"is_standin": is_standin, "source": source, "unit": "HU"}
facts |= {"window_hu": params.window_hu, "num_pixels": params.num_pixels}
io.write_json(snakemake.output.info, facts | {"seed": params.seed, "code": params.code})
logs.log.info("%d parts in, %d slices out", len(tables), num)
