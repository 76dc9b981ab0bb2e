"""Train one network on the training parts, and score the others (rule train_inspector)."""

from safetensors.torch import save_file

from tubepet import io, logs, rng
from tubepet.observers import design, generated, learned, read
from tubepet.reconstruct.read import read_kernel

logs.start_log(snakemake.log[0])
files, params, output = snakemake.input, snakemake.params, snakemake.output
known, _ = read.read_parts(files.volumes, files.tables, [design.TRAIN])
judged, table = read.read_parts(files.volumes, files.tables, design.JUDGED)
seed = rng.derived_seed(params.seed, "observers", snakemake.wildcards.arm)
arm = learned.Arm(**params.arm)
if arm.has_generated:
    how = generated.imaging(params.image, params.phantom, read_kernel(files.resolution))
    known = generated.filled_up(known, arm.num_parts, how, seed)
net = learned.train(known, arm, params.num_steps, seed)
with io.atomic(output.weights) as part:
    save_file(net.state_dict(), part)
scores = table[["part"]].assign(score=learned.scores(net, judged))
io.write_table(output.scores, scores)
logs.log.info("%d parts scored", len(scores))
