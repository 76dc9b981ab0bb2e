"""Generate images with one trained generator (rule generate_samples)."""

from dataclasses import replace

import torch

from tubepet import io, logs
from tubepet.gan import data, models, sample
from tubepet.rng import derived_seed

logs.start_log(snakemake.log[0])
given, params, name = snakemake.input, snakemake.params, snakemake.wildcards.model
model = models.MODELS[name]
info, facts = io.read_json(given.info), io.read_json(given.generator)
is_train = io.read_table(given.table)["split"] == "train"
real = data.positron_images(io.read_array(given.images), is_train, info["scale_bq_mm3"])
queries = data.Data(real)
if name == "ours":
    is_train = io.read_table(given.ct_table)["split"] == "train"
    window_hu = io.read_json(given.ct_info)["window_hu"]
    ct = data.ct_images(io.read_array(given.ct_images), is_train, window_hu)
    queries = replace(queries, ct=ct)

torch.set_num_threads(1)  # the same sums in the same order on every machine
generator = sample.load_generator(model, given.weights, facts["arguments"])
rng = torch.Generator().manual_seed(derived_seed(params.seed, "gan", name, "samples"))
images = sample.sample_images(model, generator, params.num_samples, queries, rng)
io.write_array(snakemake.output.samples, images)
logs.log.info("1 generator in, %d images out, %.4g Bq/mm3 on average", len(images), images.mean())
