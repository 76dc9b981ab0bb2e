"""Train one variant once and sample from it (rule train_variant)."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from tubepet import io, logs
from tubepet.gan import files, models, sample, train
from tubepet.rng import derived_seed
from tubepet.study import cost

logs.start_log(snakemake.log[0])
output, params, wildcards = snakemake.output, snakemake.params, snakemake.wildcards
model, name = models.MODELS[params.model], params.model
data = files.read_data(dict(snakemake.input.items()))
settings = params.settings | {"num_steps": io.read_json(snakemake.input.cost)["num_steps"]}
seed = derived_seed(params.seed, "study", "seed", int(wildcards.i_seed))
info = {"variant": wildcards.variant, "num_train": wildcards.num_train, "diverged": ""}
info |= {"seed": int(wildcards.i_seed), "num_steps": settings["num_steps"]}
is_resumed = (Path(params.progress) / "checkpoint.pt").is_file()
begin_s = cost.clock_s()
trained = train.train(model, name, settings, data, seed, params.code, params.progress)
info["cpu_s"] = None if is_resumed else cost.clock_s() - begin_s
with io.atomic(output.weights) as part:
    save_file(trained.weights, part)
generator = sample.load_generator(model, output.weights, trained.arguments)
rng = torch.Generator().manual_seed(derived_seed(seed, "study", "samples"))
images = sample.sample_images(model, generator, params.num_samples, data, rng)
io.write_array(output.samples, images)
io.write_table(output.log, trained.curves)
io.write_json(output.info, info | {"arguments": trained.arguments, **settings})
shutil.rmtree(params.progress, ignore_errors=True)
logs.log.info("%d training slices in, %d images out", len(data.real), len(images))
