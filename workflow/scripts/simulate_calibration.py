"""Simulate the calibration source with GATE (rule simulate_calibration)."""

from tubepet import io, logs, rng
from tubepet.simulate import gate
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
params = snakemake.params
stats = gate.simulate(
    name="calibration",
    source=gate.calibration_source(**params.image),
    activity_bq=gate.CALIBRATION_ACTIVITY_BQ,
    duration_s=params.decays / gate.CALIBRATION_ACTIVITY_BQ,
    scanner=Scanner(**params.scanner),
    physics_list=params.physics_list,
    g4data_facts=io.read_json(snakemake.input.g4data),
    seed=rng.derived_seed(params.seed, "simulate", "calibration"),
    coincidences_path=snakemake.output.coincidences,
    particle="back_to_back",
    delay_ns=params.delay_ns,
)
io.write_json(snakemake.output.stats, stats)
