"""Simulate and inspect some parts of one class (rule pod_batch)."""

from tubepet import io, logs
from tubepet.pod import design, parts
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
params, wildcards = snakemake.params, snakemake.wildcards
use_threads(snakemake.threads)
duration_s, sizes_mm = float(wildcards.duration_s), params.defect_size_mm
plan = design.planned(
    wildcards.batch, duration_s, params.reference_s, sizes_mm, params.phantom, params.seed
)
bench = parts.Bench(
    scanner=Scanner(**params.scanner),
    files=dict(snakemake.input.items()),
    phantom=params.phantom,
    protocol=params.protocol,
    ranges_mm=design.looked_for(sizes_mm, params.phantom, duration_s, params.reference_s),
    source=params.source,
    background=params.background,
    stride=params.stride,
    false_call_rate=params.false_call_rate,
    seed=params.seed,
)
io.write_table(snakemake.output.table, parts.inspect_parts(plan, bench))
