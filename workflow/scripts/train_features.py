"""Learn a feature space on tubes that are in no split (rule train_features)."""

import numpy as np
from safetensors.torch import save_model

from tubepet import io, logs
from tubepet.dataset.slices import Slices
from tubepet.dataset.stack import whole
from tubepet.evaluate import learned

logs.start_log(snakemake.log[0])
given, output, params = snakemake.input, snakemake.output, snakemake.params
slices = Slices.read(given.images, given.table, given.info)
shared = set(slices.tubes) & set(io.read_table(given.study_table)["tube"])
assert not shared, f"tubes of the study among those of its features: {sorted(shared)}"
scale_bq_mm3 = io.read_json(given.study_info)["scale_bq_mm3"]
lessons = learned.Lessons(
    whole(slices.images, scale_bq_mm3)[:],
    np.asarray(slices.drawn(given.fluid)),
    np.asarray(slices.drawn(given.masks)),
    slices.labels(given.labels)["fluid_change_mm3"].to_numpy(),
    slices.table,
)
space, facts = learned.train_space(lessons, params.visible_mm3, params.num_steps, params.seed)
with io.atomic(output.weights) as part:
    save_model(space.net, str(part))
io.write_json(output.facts, facts | {"code": params.code})
logs.log.info(
    "%d slices of %d tubes in, 1 feature space out: defect AUC %s, shape %.2f, radius %.2f pixels",
    len(lessons.images), len(facts["tubes"]), facts["defect_auc"], facts["shape_accuracy"],
    facts["radius_error_px"],
)  # fmt: skip
