"""Simulate the calibration source (rule simulate_calibration)."""

from tubepet import io, logs, rng
from tubepet.simulate import engines, sources
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
params = snakemake.params
stats = engines.simulate(
    engine=params.engine,
    name="calibration",
    source=sources.calibration_source(**params.image),
    activity_bq=sources.CALIBRATION_ACTIVITY_BQ,
    duration_s=params.decays / sources.CALIBRATION_ACTIVITY_BQ,
    scanner=Scanner(**params.scanner),
    physics_list=params.physics_list,
    g4data_facts=io.read_json(snakemake.input.g4data),
    seed=rng.derived_seed(params.seed, "simulate", "calibration"),
    num_threads=snakemake.threads,
    coincidences_path=snakemake.output.coincidences,
    particle="back_to_back",
    delay_ns=params.delay_ns,
    device=params.device,
)
io.write_json(snakemake.output.stats, stats)
