"""Measure what a step of a variant costs, beside a step of DCGAN (rule measure_cost)."""

from tubepet import io, logs
from tubepet.gan import files, models
from tubepet.study import cost

logs.start_log(snakemake.log[0])
params, name = snakemake.params, snakemake.wildcards.variant
facts = cost.measure(
    (models.MODELS[params.model], params.model, params.settings),
    (models.MODELS["dcgan"], "dcgan", params.reference),
    files.read_data(dict(snakemake.input.items())),
    params.pretrain,
    params.features,
    params.seed,
)
facts["num_steps"] = params.num_steps or cost.num_steps(
    facts, params.budget_steps, params.charge_preparation, name
)
io.write_json(snakemake.output.cost, facts | {"variant": name})
logs.log.info(
    "%s: %d steps of %.4f s after %.1f s; a step of DCGAN takes %.4f s",
    name, facts["num_steps"], facts["step_s"], facts["preparation_s"], facts["reference_step_s"],
)  # fmt: skip
