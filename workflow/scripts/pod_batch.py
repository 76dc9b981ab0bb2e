"""Simulate and inspect some parts of one class (rule pod_batch)."""

from tubepet import io, logs
from tubepet.pod import design, parts
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
params, wildcards = snakemake.params, snakemake.wildcards
use_threads(snakemake.threads)
phantom, seed = params.bench["phantom"], params.bench["seed"]
duration_s, sizes_mm = float(wildcards.duration_s), params.defect_size_mm
plan = design.planned(wildcards.batch, duration_s, params.reference_s, sizes_mm, phantom, seed)
bench = parts.Bench(
    scanner=Scanner(**params.scanner),
    files=dict(snakemake.input.items()),
    ranges_mm=design.looked_for(sizes_mm, phantom, duration_s, params.reference_s),
    **params.bench,
)
io.write_table(snakemake.output.table, parts.inspect_parts(plan, bench))
