"""Fit a channelised Hotelling observer and score the parts that are judged (rule fit_hotelling)."""

from tubepet import io, logs
from tubepet.observers import design, hotelling, read

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
known, _ = read.read_parts(files.volumes, files.tables, [design.TRAIN])
judged, table = read.read_parts(files.volumes, files.tables, design.JUDGED)
has_drawing = params.has_drawing[snakemake.wildcards.arm]
templates = hotelling.fit(known, has_drawing)
for one in templates:
    logs.log.info("d' of one place: %.2f", one.detectability)
found = hotelling.scores(templates, judged, has_drawing)
io.write_table(output.scores, table[["part"]].assign(score=found))
