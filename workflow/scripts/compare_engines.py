"""Simulate one case with GATE and with the fast engine (rule compare_engines)."""

from tubepet import io, logs, rng
from tubepet.plan import validation
from tubepet.types import Scanner
from tubepet.validate import cases, transport

logs.start_log(snakemake.log[0])
params, name = snakemake.params, snakemake.wildcards.case
scanner = Scanner(**params.scanner)
result = transport.run_both(
    cases.draw(name, params.seed, scanner),
    validation.expected_decays(name, params.decays),
    scanner,
    params.physics_list,
    io.read_json(snakemake.input.g4data),
    rng.derived_seed(params.seed, "validate", name),
    params.delay_ns,
    params.device,
)
io.write_json(snakemake.output.result, result)
