"""Collect facts and tables for the report (rule collect_report)."""

from pathlib import Path

from tubepet import io, logs
from tubepet.report import tables

logs.start_log(snakemake.log[0])
stats = [io.read_json(path) for path in snakemake.params.stats]
slices, ct = io.read_json(snakemake.input.slices), io.read_json(snakemake.input.ct)
literal, sources, verdict = (
    io.read_json(snakemake.input[name]) for name in ("literal", "sources", "verdict")
)
facts = tables.facts(stats, literal, sources, verdict, slices, ct)
io.write_json(snakemake.output.facts, facts)
metrics = io.read_json(snakemake.input.metrics)
pages = {
    "counts": io.read_table(snakemake.input.counts),
    "table1": tables.with_intervals(io.read_table(snakemake.input.table1)),
    "provenance": tables.provenance(
        facts, stats, io.read_json(snakemake.input.calibration), snakemake.params.seed
    ),
    "cost": tables.cost(Path("results/benchmarks")),
}
for name, table in pages.items():
    notes = metrics["columns"] if name == "table1" else {}
    io.write_text(snakemake.output[name], tables.page(name, table, notes))
for name in ("provenance", "cost"):
    io.write_table(snakemake.output[f"{name}_table"], pages[name])
