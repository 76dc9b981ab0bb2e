"""Compare GATE and the fast engine on one tube (rule validate_transport)."""

from tubepet import io, logs, rng
from tubepet.types import Scanner
from tubepet.validate import transport, transport_figures

logs.start_log(snakemake.log[0])
params, files = snakemake.params, snakemake.input
activity = io.read_volume(files.activity)
if "asymmetric" in snakemake.wildcards.case:
    activity = transport.octant(activity)
samples = transport.run_both(
    name=snakemake.wildcards.case,
    labels_path=files.labels,
    activity=activity,
    num_decays=params.decays,
    scanner=Scanner(**params.scanner),
    physics_list=params.physics_list,
    g4data_facts=io.read_json(files.g4data),
    seed=rng.derived_seed(params.seed, "validate", snakemake.wildcards.case),
    delay_ns=params.delay_ns,
    device=params.device,
)
judged = transport.agreement(*samples)
transport.require(judged, params.engine)
io.write_figure(snakemake.output.figure, transport_figures.draw_validation(*samples, judged))
io.write_json(snakemake.output.verdict, judged)
