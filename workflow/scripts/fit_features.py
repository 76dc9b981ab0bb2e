"""Fit PCA and PCANet on the training slices (rule fit_features)."""

from safetensors.numpy import save_file

from tubepet import io, logs
from tubepet.dataset.slices import Slices
from tubepet.features import bank, figures

logs.start_log(snakemake.log[0])
given, params, output = snakemake.input, snakemake.params, snakemake.output
slices = Slices.read(given.images, given.table, given.info)
train, scale_bq_mm3 = slices.of("train"), slices.scale_bq_mm3

tensors, pca = bank.make_bank(train, params.features)
with io.atomic(output.bank) as part:
    save_file(tensors, part)
io.write_figure(output.scree, figures.draw_scree(pca, len(train.evenly(bank.MAX_FITTED))))
draw = figures.draw_eigen_images(pca, train.shape[-1], slices.pixel_mm, scale_bq_mm3, 17)
io.write_figure(output.eigen_images, draw)
draw = figures.draw_filters(tensors["pcanet_first"], tensors["pcanet_second"])
io.write_figure(output.filters, draw)
facts = bank.facts(tensors, pca) | {"scale_bq_mm3": scale_bq_mm3, "code": params.code}
io.write_json(output.info, facts | {"settings": params.features})
logs.log.info(
    "%d training slices in, %d slots of %d features out", len(train), *tensors["bank"].shape
)
