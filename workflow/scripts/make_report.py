"""Write the report (rule make_report)."""

from pathlib import Path

from tubepet import io, logs
from tubepet.report import page

logs.start_log(snakemake.log[0])
params = snakemake.params
text = page.make_page(
    Path(snakemake.input.template).read_text(encoding="utf-8"),
    dict(snakemake.input.items()) | params.of_tubes,
    params.models,
    params.tubes,
    params.false_call_rate,
    params.stages,
)
io.write_text(snakemake.output.page, text)
logs.log.info("%d tubes in, %.1f MB out", len(params.tubes), len(text) / 1e6)
