"""Train one generator (rule train_gan)."""

from dataclasses import replace

import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from tubepet import io, logs
from tubepet.gan import data, figures, models, train
from tubepet.pretrain.vae import load_vae

logs.start_log(snakemake.log[0])
given, output, params = snakemake.input, snakemake.output, snakemake.params
name = snakemake.wildcards.model
info = io.read_json(given.info)
is_train = io.read_table(given.table)["split"] == "train"
real = data.positron_images(io.read_array(given.images), is_train, info["scale_bq_mm3"])
training = data.Data(real)
if name == "ours":
    is_train = io.read_table(given.ct_table)["split"] == "train"
    window_hu = io.read_json(given.ct_info)["window_hu"]
    ct = data.ct_images(io.read_array(given.ct_images), is_train, window_hu)
    vae = load_vae(given.vae, io.read_json(given.vae_info))
    bank = torch.from_numpy(load_file(given.bank)["bank"])
    training = replace(training, ct=ct, vae=vae, bank=bank)

result = train.train(
    models.MODELS[name], name, params.settings, training, params.seed, params.code, params.progress
)
with io.atomic(output.weights) as part:
    save_file(result.weights, part)
facts = {"model": name, "arguments": result.arguments, "num_train": len(real)}
io.write_json(output.info, facts | {"seed": params.seed, **params.settings, "code": params.code})
io.write_table(output.log, result.curves)
io.write_figure(output.grid, figures.draw_grid(result.grid, real.high, name))
io.write_figure(output.curves, figures.draw_curves(result.curves, name))
logs.log.info("%d training slices in, 1 generator out", len(real))
