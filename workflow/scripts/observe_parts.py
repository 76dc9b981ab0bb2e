"""Simulate some parts and make their images; inspect those that are judged (rule observe_parts)."""

from tubepet import io, logs
from tubepet.observers import design, reality, volumes
from tubepet.pod import parts
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
params, batch, output = snakemake.params, snakemake.wildcards.batch, snakemake.output
use_threads(snakemake.threads)
files = dict(snakemake.input.items())
phantom, seed = params.bench["phantom"], params.bench["seed"]
plan = design.planned(batch, params.duration_s, params.defects, phantom, seed)
bench = parts.Bench(
    scanner=Scanner(**params.scanner),
    files=files,
    ranges_mm=phantom["defect_size_mm"],
    **params.bench,
)
if declared := params.get("reality"):
    how = reality.Reality(**declared)
    plan = reality.displaced(plan, how.shift_mm, seed)
    bench = reality.real_bench(bench, how, files["efficiencies"])
images, table = volumes.observe_parts(plan, bench, params.mlem, volumes.is_judged(batch))
io.write_array(output.volumes, images)
io.write_table(output.table, table)
