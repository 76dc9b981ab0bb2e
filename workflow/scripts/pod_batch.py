"""Simulate and inspect some parts of one class (rule pod_batch)."""

from tubepet import io, logs
from tubepet.pod import design, parts
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
params, wildcards = snakemake.params, snakemake.wildcards
use_threads(snakemake.threads)
phantom, seed = params.bench["phantom"], params.bench["seed"]
duration_s, reference_s = float(wildcards.duration_s), params.reference_s
plan = design.planned(wildcards.batch, duration_s, reference_s, phantom, seed)
bench = parts.Bench(
    scanner=Scanner(**params.scanner),
    files=dict(snakemake.input.items()),
    ranges_mm=design.looked_for(phantom["defect_size_mm"], duration_s, reference_s),
    **params.bench,
)
io.write_table(snakemake.output.table, parts.inspect_parts(plan, bench))
