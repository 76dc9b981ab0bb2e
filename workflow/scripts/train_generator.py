"""Train one generator (rule train_generator)."""

from safetensors.torch import save_file

from tubepet import io, logs
from tubepet.generate import figures, loop, read
from tubepet.generate.models.catalogue import MODELS
from tubepet.generate.run import Task

logs.start_log(snakemake.log[0])
output, params, name = snakemake.output, snakemake.params, snakemake.wildcards.model
data = read.read_data(dict(snakemake.input.items()))
task = Task(MODELS[name], params.settings, data, params.seed)
result = loop.train(task, params.code, params.progress, params.num_processes)
with io.atomic(output.weights) as part:
    save_file(result.weights, part)
facts = {"model": name, "arguments": result.arguments, "num_train": len(data.real)}
slices = io.read_json(snakemake.input.info)
facts |= {"format": 1, **{key: slices[key] for key in ("scale_bq_mm3", "pixel_mm", "slice_mm")}}
io.write_json(output.info, facts | {"seed": params.seed, **params.settings, "code": params.code})
io.write_table(output.log, result.curves)
io.write_figure(output.grid, figures.draw_grid(result.grid, data.real.high, name))
io.write_figure(output.curves, figures.draw_curves(result.curves, name))
logs.log.info("%d training slices in, 1 generator out", len(data.real))
