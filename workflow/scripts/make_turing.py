"""Make the page of the visual Turing test (rule make_turing)."""

from pathlib import Path

from tubepet import io, logs
from tubepet.report import turing

logs.start_log(snakemake.log[0])
given, params = snakemake.input, snakemake.params
images, split = io.read_array(given.images), io.read_table(given.table)["split"].to_numpy(str)
samples = {m: io.read_array(p) for m, p in zip(params.models, given.samples, strict=True)}
page, key = turing.make_page(
    Path(given.template).read_text(encoding="utf-8"),
    images[split == "train"],
    images[split == "test"],
    samples,
    io.read_json(given.info)["scale_bq_mm3"],
    params.seed,
)
io.write_text(snakemake.output.page, page)
io.write_table(snakemake.output.key, key)
logs.log.info("%d sets of samples in, %d trials out", len(samples), len(key))
