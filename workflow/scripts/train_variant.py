"""Train one variant once and sample from it (rule train_variant)."""

import shutil

from safetensors.torch import save_file

from tubepet import io, logs
from tubepet.generate import read
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.run import Task
from tubepet.rng import derived_seed
from tubepet.study import outcome

logs.start_log(snakemake.log[0])
given, output, params = snakemake.input, snakemake.output, snakemake.params
wildcards = snakemake.wildcards
data = read.read_data(dict(given.items()))
choice = io.read_json(given.choice) if "choice" in given.keys() else {"set": {}}
settings = outcome.tuned(params.settings, params.own, choice)
settings["num_steps"] = io.read_json(given.cost)["num_steps"]
seed = derived_seed(params.seed, "study", "seed", int(wildcards.i_seed))
task = Task(MODELS[params.model], settings, data, seed)
result = outcome.train_and_sample(task, params.num_samples, params.code, params.progress)
with io.atomic(output.weights) as part:
    save_file(result.weights, part)
io.write_array(output.samples, result.images)
io.write_array(output.labelled, result.labelled.images)
io.write_array(output.masks, result.labelled.masks)
io.write_table(output.labels, result.labelled.labels)
io.write_table(output.log, result.curves)
info = {"variant": wildcards.variant, "num_train": wildcards.num_train}
info |= {"seed": int(wildcards.i_seed), "cpu_s": result.cpu_s, "diverged": result.diverged}
io.write_json(output.info, info | {"arguments": result.arguments, **settings})
shutil.rmtree(params.progress, ignore_errors=True)
logs.log.info("%d training slices in, %d images out", len(data.real), len(result.images))
