"""Describe held-out slices; score training slices as floor and copies (rule score_real)."""

import numpy as np
import torch

from tubepet import io, logs, rng
from tubepet.dataset.slices import Slices
from tubepet.evaluate import distances, learned, metrics, statistics
from tubepet.study import score

logs.start_log(snakemake.log[0])
given, output, params = snakemake.input, snakemake.output, snakemake.params
torch.set_num_threads(1)  # the same sums in the same order on every machine
real = Slices.read(given.images, given.table, given.info)
train, test = real.of("train"), real.of("test")
train_tubes, test_tubes = real.tube[train.rows], real.tube[test.rows]
num_images = min(params.num_images, len(train))
raw = statistics.image_statistics(train)
space = statistics.fit_space(raw, min(num_images, len(test)))
facts = io.read_json(given.features)
net = learned.load_space(given.weights, facts)
spaces = {metrics.STATISTICS: space.features, learned.LEARNED: net.features}
nearest, _ = distances.nearest_training(test, train)
described = metrics.describe(test, nearest, spaces, rng.stream(params.seed, "study", "test"))
halves = score.test_halves(test_tubes, params.num_halves, params.seed)
scores = score.score_real(
    train, train_tubes, score.Real(described, test, halves), spaces, num_images, params.num_seeds,
    params.seed,
)  # fmt: skip
score.write_described(output.described, described)
arrays = {"mean": space.mean, "std": space.std, "components": space.components}
io.write_json(output.space, {name: np.asarray(a).tolist() for name, a in arrays.items()})
info = {"num_images": num_images, "num_train": len(train), "num_test": len(test)}
info |= {"num_test_tubes": len(set(test_tubes)), "features": facts}
io.write_json(output.scores, {"rows": scores, "facts": info})
logs.log.info("%d training and %d test slices in, %d rows out", len(train), len(test), len(scores))
