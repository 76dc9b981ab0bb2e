"""Look for defects in one tube (rule inspect_tube)."""

from tubepet import io, logs
from tubepet.inspect import figures, part, verdict
from tubepet.inspect.setup import read_response
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.read import read_acquisition
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
files, params, output = dict(snakemake.input.items()), snakemake.params, snakemake.output
use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
measured, instrument = read_acquisition(files, scanner, params.background, params.duration_s)
response = read_response(files["resolution"], scanner, params.stride)
drawn = part.of_truth(io.read_json(files["truth"]), params.phantom)
found = verdict.inspect(
    measured, drawn, params.phantom["defect_size_mm"], instrument,
    response, params.false_call_rate, params.seed,
)  # fmt: skip
io.write_json(output.verdict, found.as_json())
score_map = verdict.score_map(found)
io.write_volume(output.map, score_map)
io.write_figure(
    output.figure, figures.draw_verdict(found, score_map, drawn, snakemake.wildcards.tube)
)
