"""Simulate and inspect some parts of one class (rule pod_batch)."""

from tubepet import io, logs
from tubepet.pod import design, parts
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
params, wildcards = snakemake.params, snakemake.wildcards
use_threads(snakemake.threads)
plan = design.planned(
    wildcards.batch, float(wildcards.duration_s), params.reference_s, params.defect_size_mm,
    params.phantom, params.seed,
)  # fmt: skip
bench = parts.Bench(
    scanner=Scanner(**params.scanner),
    files=dict(snakemake.input.items()),
    phantom=params.phantom,
    protocol=params.protocol,
    source=params.source,
    background=params.background,
    stride=params.stride,
    false_call_rate=params.false_call_rate,
    seed=params.seed,
)
io.write_table(snakemake.output.table, parts.inspect_parts(plan, bench))
