"""Score every run of a variant (rule score_variant)."""

import numpy as np
import torch

from tubepet import io, logs, rng
from tubepet.dataset.slices import RealSlices
from tubepet.evaluate import distances, learned, metrics, statistics
from tubepet.study import score

logs.start_log(snakemake.log[0])
given, params = snakemake.input, snakemake.params
torch.set_num_threads(1)  # the same sums in the same order on every machine
rows = io.read_table(given.table)
split, tube = rows["split"].to_numpy(str), rows["tube"].to_numpy(str)
scale_bq_mm3 = io.read_json(given.info)["scale_bq_mm3"]
slices = RealSlices(io.read_array(given.images), split, tube, scale_bq_mm3)
halves = score.test_halves(tube[split == "test"], params.num_halves, params.seed)
real = score.Real(score.read_described(given.described), slices.of("test"), halves)
space = statistics.FeatureSpace(**{k: np.array(v) for k, v in io.read_json(given.space).items()})
net = learned.load_space(given.weights, io.read_json(given.features))
spaces = {metrics.STATISTICS: space.features, learned.LEARNED: net.features}
originals = distances.seen(slices.of("train"))
num_images = io.read_json(given.real)["facts"]["num_images"]
scores = []
for samples, info in zip(given.samples, map(io.read_json, given.runs), strict=True):
    run = {key: info[key] for key in ("variant", "num_train", "seed", "cpu_s", "diverged")}
    images = np.asarray(io.read_array(samples)[:num_images]) / np.float32(scale_bq_mm3)
    random = rng.stream(params.seed, "study", info["variant"], info["num_train"], info["seed"])
    if len(images):
        nearest, _ = distances.nearest_training(images, originals)
        described = metrics.describe(images, nearest, spaces, random)
        run |= score.score(images, described, real)
    scores.append({"values": {}, "draws": {}, **run})
io.write_json(snakemake.output.scores, scores)
logs.log.info("%d runs in, %d rows out", len(given.samples), len(scores))
