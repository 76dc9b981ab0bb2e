"""Judge the fast engine against GATE over all cases (rule validate_transport)."""

from tubepet import io, logs
from tubepet.validate import transport, transport_figures

logs.start_log(snakemake.log[0])
results = [io.read_json(path) for path in snakemake.input.results]
judged = transport.judge(results, snakemake.wildcards.scope)
transport.require(judged, snakemake.params.engine)
io.write_figure(snakemake.output.figure, transport_figures.draw_validation(results, judged))
io.write_json(snakemake.output.verdict, judged)
