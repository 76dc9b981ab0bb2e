"""Measure what a step of a variant costs, beside a step of DCGAN (rule measure_cost)."""

from tubepet import io, logs
from tubepet.generate import read
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.run import Task
from tubepet.study import cost, outcome

logs.start_log(snakemake.log[0])
given, params, name = snakemake.input, snakemake.params, snakemake.wildcards.variant
choice = io.read_json(given.choice) if "choice" in given.keys() else {"set": {}}
settings = outcome.tuned(params.settings, params.own, choice)
data = read.read_data(dict(given.items()))
variant = Task(MODELS[params.model], settings, data, params.seed)
reference = Task(MODELS["dcgan"], params.reference, data, params.seed)
facts = cost.measure(variant, reference)
facts["preparation_s"] += cost.preparation_s(data, params.pretrain, params.features, params.seed)
facts["num_steps"] = params.num_steps or cost.num_steps(
    facts, params.budget_steps, params.charge_preparation, name
)
facts |= {"variant": name, "is_charged": params.charge_preparation}
io.write_json(snakemake.output.cost, facts)
logs.log.info(
    "%s: %d steps of %.4f s after %.1f s; a step of DCGAN takes %.4f s",
    name, facts["num_steps"], facts["step_s"], facts["preparation_s"], facts["reference_step_s"],
)  # fmt: skip
