"""Train the VAE of CT slices (rule train_vae)."""

import numpy as np
from safetensors.torch import save_model

from tubepet import io, logs
from tubepet.pretrain import figures, train
from tubepet.training.checkpoint import training_digest

logs.start_log(snakemake.log[0])
params, output = snakemake.params, snakemake.output
images, info = io.read_array(snakemake.input.images), io.read_json(snakemake.input.info)
split = io.read_table(snakemake.input.table)["split"].to_numpy(str)
window_hu = tuple(info["window_hu"])

identity = {"seed": params.seed, "code": params.code, "split": split.tolist(), **params.pretrain}
trained = train.train_vae(
    images_hu=images,
    split=split,
    window_hu=window_hu,
    settings=params.pretrain,
    seed=params.seed,
    checkpoint_path=params.checkpoint,
    digest=training_digest(identity, images),
    num_processes=params.num_processes,
)
held_out = np.flatnonzero(split == "val")
source = "stand-in" if info["is_standin"] else info["source"]
draw = figures.draw_reconstructions(trained.model, images, held_out, window_hu, 10, source)
io.write_figure(output.reconstructions, draw)
draw = figures.draw_samples(trained.model, window_hu, 3, 10, params.seed, source)
io.write_figure(output.samples, draw)
io.write_figure(output.curves_figure, figures.draw_curves(trained.curves, source))
io.write_table(output.curves, trained.curves)
with io.atomic(output.weights) as part:
    save_model(trained.model, str(part))
facts = {"seed": params.seed, "code": params.code, "is_standin": info["is_standin"]}
io.write_json(output.info, trained.facts | facts)
logs.log.info("%d slices in, 1 model out", len(images))
