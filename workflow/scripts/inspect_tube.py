"""Look for defects in one tube (rule inspect_tube)."""

from tubepet import io, logs
from tubepet.inspect import figures, part, verdict
from tubepet.reconstruct.problem import Settings
from tubepet.reconstruct.projection import blur
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.read import read_acquisition
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
files, params, output = dict(snakemake.input.items()), snakemake.params, snakemake.output
use_threads(snakemake.threads)
measured, instrument = read_acquisition(
    files, Scanner(**params.scanner), params.background, params.duration_s
)
# core and tail, whatever the images are made with: the events are compared with the drawing
psf = blur.from_rows(io.read_json(files["resolution"])["fitted"])
drawn = part.of_truth(io.read_json(files["truth"]), params.phantom)
found = verdict.inspect(
    measured, drawn, params.phantom["defect_size_mm"], instrument,
    Settings(0, psf=psf, sensitivity_stride=params.stride), params.false_call_rate, params.seed,
)  # fmt: skip
io.write_json(output.verdict, found.as_json())
score_map = verdict.score_map(found)
io.write_volume(output.map, score_map)
io.write_figure(
    output.figure, figures.draw_verdict(found, score_map, drawn, snakemake.wildcards.tube)
)
