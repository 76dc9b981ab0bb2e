"""Follow one tube from drawing to image (rule draw_follow)."""

from tubepet import io, logs
from tubepet.report import follow
from tubepet.simulate.coincidences import read_coincidences
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
scanner = Scanner(**snakemake.params.scanner)
figure = follow.draw_follow(
    io.read_volume(snakemake.input.labels),
    io.read_volume(snakemake.input.activity),
    read_coincidences(snakemake.input.coincidences, scanner),
    io.read_volume(snakemake.input.image),
    scanner,
)
io.write_figure(snakemake.output.figure, figure)
