"""Generate images with one trained generator (rule generate_samples)."""

import torch

from tubepet import io, logs
from tubepet.generate import read, sample
from tubepet.generate.models.catalogue import MODELS
from tubepet.rng import derived_seed

logs.start_log(snakemake.log[0])
given, params, name = snakemake.input, snakemake.params, snakemake.wildcards.model
model = MODELS[name]
data = read.read_data(dict(given.items()))

torch.set_num_threads(1)  # the same sums in the same order on every machine
generator = sample.load_generator(model, given.weights, io.read_json(given.generator)["arguments"])
rng = torch.Generator().manual_seed(derived_seed(params.seed, "generate", name, "samples"))
images = sample.sample_images(model, generator, params.num_samples, data, rng)
io.write_array(snakemake.output.samples, images)
logs.log.info("1 generator in, %d images out, %.4g Bq/mm3 on average", len(images), images.mean())
