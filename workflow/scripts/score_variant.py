"""Score every run of a variant (rule score_variant)."""

import torch

from tubepet import io, logs, rng
from tubepet.dataset.slices import Slices
from tubepet.dataset.stack import whole
from tubepet.evaluate import distances, learned, metrics, spaces
from tubepet.evaluate.window import DARK, window_of
from tubepet.study import score

logs.start_log(snakemake.log[0])
given, params = snakemake.input, snakemake.params
torch.set_num_threads(1)  # the same sums in the same order on every machine
slices = Slices.read(given.images, given.table, given.info)
train, test = slices.of("train"), slices.of("test")
window = window_of(train, slices.tube[train.rows])
train, test = train.within(window, DARK), test.within(window, DARK)
halves = score.test_halves(slices.tube[test.rows], params.num_halves, params.seed)
real = score.Real(score.read_described(given.described), test, halves)
net = learned.load_space(given.weights, io.read_json(given.features))
known = spaces.all_features(spaces.read(given.spaces), net)
originals = distances.seen(train)
num_images = io.read_json(given.real)["facts"]["num_images"]
scores = []
for samples, info in zip(given.samples, map(io.read_json, given.runs), strict=True):
    run = {key: info[key] for key in ("variant", "num_train", "seed", "cpu_s", "diverged")}
    images = whole(io.read_array(samples), slices.scale_bq_mm3).within(window, DARK)[:num_images]
    random = rng.stream(params.seed, "study", info["variant"], info["num_train"], info["seed"])
    if len(images):
        nearest, _ = distances.nearest_training(images, originals)
        described = metrics.describe(images, nearest, known, random)
        run |= score.score(images, described, real)
    scores.append({"values": {}, "draws": {}, **run})
io.write_json(snakemake.output.scores, scores)
logs.log.info("%d runs in, %d rows out", len(given.samples), len(scores))
