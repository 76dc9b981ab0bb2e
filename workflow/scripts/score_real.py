"""Describe held-out slices; score training slices as floor and copies (rule score_real)."""

import torch

from tubepet import io, logs, rng
from tubepet.dataset.slices import Slices
from tubepet.evaluate import distances, learned, metrics, spaces
from tubepet.evaluate.gate import gate_of
from tubepet.evaluate.window import DARK, window_of
from tubepet.study import score

logs.start_log(snakemake.log[0])
given, output, params = snakemake.input, snakemake.output, snakemake.params
torch.set_num_threads(1)  # the same sums in the same order on every machine
real = Slices.read(given.images, given.table, given.info)
train, test = real.of("train"), real.of("test")
train_tubes, test_tubes = real.tube[train.rows], real.tube[test.rows]
num_images = min(params.num_images, len(train))
train, test = (one.within(window_of(train, train_tubes), DARK) for one in (train, test))
fitted = spaces.fit(train, min(num_images, len(test)))
spaces.write(output.spaces, fitted)
facts = io.read_json(given.features)
known = spaces.all_features(fitted, learned.load_space(given.weights, facts))
nearest, _ = distances.nearest_training(test, train)
chance = rng.stream(params.seed, "study", "test")
described = metrics.describe(test, nearest, known, chance, test_tubes)
gates = {n: gate_of(f, (train, train_tubes), (test, test_tubes)) for n, f in known.items()}
halves = score.test_halves(test_tubes, params.num_halves, params.seed)
scores = score.score_real(
    train, train_tubes, score.Real(described, test, halves), known, num_images, params.num_seeds,
    params.seed,
)  # fmt: skip
score.write_described(output.described, described)
info = {"num_images": num_images, "num_train": len(train), "num_test": len(test), "features": facts}
info["num_test_tubes"] = len(set(test_tubes))
info["gates"] = {name: gate.as_json() for name, gate in gates.items()}
io.write_json(output.scores, {"rows": scores, "facts": info})
logs.log.info("%d training and %d test slices in, %d rows out", len(train), len(test), len(scores))
