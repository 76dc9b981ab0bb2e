"""Reconstruct the activity of one tube (rule reconstruct_tube)."""

from tubepet import io, logs
from tubepet.reconstruct import acquisition, figures
from tubepet.reconstruct.projection import joseph
from tubepet.reconstruct.read import read_acquisition
from tubepet.types import Scanner, Volume

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
joseph.use_threads(snakemake.threads)
scan = read_acquisition(dict(files.items()), Scanner(**params.scanner), params.background)
image, trace = acquisition.reconstruct(
    **scan, duration_s=params.duration_s, **params.mlem, seed=params.seed
)
note = f"Bq/mm3; cross sections: {io.read_json(files.stats)['tables']}"
io.write_volume(output.image, Volume(image.array, image.grid, note))
io.write_table(output.trace, trace)
tube = snakemake.wildcards.tube
io.write_figure(output.convergence, figures.draw_convergence(trace, tube))
io.write_figure(output.figure, figures.draw_image(image, io.read_volume(files.activity), tube))
