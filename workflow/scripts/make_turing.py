"""Make the page of the visual Turing test (rule make_turing)."""

from pathlib import Path

from tubepet import io, logs
from tubepet.dataset.slices import Slices
from tubepet.dataset.stack import whole
from tubepet.report import claims, turing

logs.start_log(snakemake.log[0])
given, params = snakemake.input, snakemake.params
real = Slices.read(given.images, given.table, given.info)
kept = claims.for_readers(params.models, io.read_table(given.table1))
samples = {
    model: whole(io.read_array(path), real.scale_bq_mm3)
    for model, path in zip(params.models, given.samples, strict=True)
    if model in kept
}
template = Path(given.template).read_text(encoding="utf-8")
page, key = turing.make_page(template, real.of("train"), real.of("test"), samples, params.seed)
io.write_text(snakemake.output.page, page)
io.write_table(snakemake.output.key, key)
logs.log.info("%d sets of samples in, %d trials out", len(samples), len(key))
