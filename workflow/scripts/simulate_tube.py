"""Simulate one acquisition of one tube (rules simulate_tube, simulate_reference)."""

from tubepet import io, logs, rng
from tubepet.simulate import engines, sources
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
name, params, files = snakemake.wildcards.tube, snakemake.params, snakemake.input
activity, truth = io.read_volume(files.activity), io.read_json(files.truth)
if params.geometry == "analytic":
    source = sources.solid_source(truth)
else:
    own = truth.get("fillings", ())
    source = sources.tube_source(files.labels, files.activity, activity.grid, own)
stats = engines.simulate(
    engine=params.engine,
    name=name,
    source=source,
    activity_bq=sources.total_activity_bq(activity),
    duration_s=params.duration_s,
    scanner=Scanner(**params.scanner),
    physics_list=params.physics_list,
    g4data_facts=io.read_json(files.g4data),
    seed=rng.derived_seed(params.seed, params.stream, name),
    num_threads=snakemake.threads,
    coincidences_path=snakemake.output.coincidences,
    particle=params.particle,
    delay_ns=params.delay_ns,
    device=params.device,
    isotope=params.isotope,
    has_lutetium=params.lutetium,
)
io.write_json(snakemake.output.stats, stats)
