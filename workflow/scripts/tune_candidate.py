"""Train a variant once with a candidate set of keys and judge it (rule tune_candidate)."""

import shutil
from dataclasses import replace

from tubepet import io, logs
from tubepet.dataset.slices import Slices
from tubepet.generate import read
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.run import Task
from tubepet.rng import derived_seed
from tubepet.study import cost, outcome, tuning

logs.start_log(snakemake.log[0])
given, params, name = snakemake.input, snakemake.params, snakemake.wildcards.variant
data = read.read_data(dict(given.items()))
settings = params.settings | params.candidate
seed = derived_seed(params.seed, "study", "tuning")
task = Task(MODELS[params.model], settings, data, seed)
facts = cost.measure(task, Task(MODELS["dcgan"], params.reference, data, seed))
settings |= {"num_steps": cost.num_steps(facts, params.budget_steps, False, name)}
task = replace(task, config=settings)
result = outcome.train_and_sample(task, params.num_samples, params.code, params.progress)
real = Slices.read(given.images, given.table, given.info)
score = {"set": params.candidate, "num_steps": settings["num_steps"], "cpu_s": result.cpu_s}
score |= tuning.judge(result.images, real, params.seed)
io.write_json(snakemake.output.score, score)
shutil.rmtree(params.progress, ignore_errors=True)
logs.log.info(
    "%s %s: %s steps, Frechet distance %s to validation slices (training slices: %s)",
    name, params.candidate, score["num_steps"], score["frechet"], score["floor"],
)  # fmt: skip
