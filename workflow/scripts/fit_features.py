"""Fit PCA and PCANet on the training slices (rule fit_features)."""

import numpy as np
from safetensors.numpy import save_file

from tubepet import io, logs
from tubepet.features import bank, figures

logs.start_log(snakemake.log[0])
params, output = snakemake.params, snakemake.output
info = io.read_json(snakemake.input.info)
is_train = (io.read_table(snakemake.input.table)["split"] == "train").to_numpy()
rows, scale_bq_mm3 = np.flatnonzero(is_train), info["scale_bq_mm3"]
images = io.read_array(snakemake.input.images)

tensors, pca = bank.make_bank(images, rows, scale_bq_mm3, params.features)
with io.atomic(output.bank) as part:
    save_file(tensors, part)
io.write_figure(output.scree, figures.draw_scree(pca, len(bank.fitted(rows))))
draw = figures.draw_eigen_images(pca, images.shape[-1], info["pixel_mm"], scale_bq_mm3, 17)
io.write_figure(output.eigen_images, draw)
draw = figures.draw_filters(tensors["pcanet_first"], tensors["pcanet_second"])
io.write_figure(output.filters, draw)
facts = bank.facts(tensors, pca) | {"scale_bq_mm3": scale_bq_mm3, "code": params.code}
io.write_json(output.info, facts | {"settings": params.features})
logs.log.info(
    "%d training slices in, %d slots of %d features out", len(rows), *tensors["bank"].shape
)
