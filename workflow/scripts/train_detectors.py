"""Train defect detectors with and without generated slices (rule train_detectors)."""

import numpy as np
import pandas as pd

from tubepet import io, logs
from tubepet.dataset.slices import RealSlices
from tubepet.rng import derived_seed
from tubepet.study import detector

logs.start_log(snakemake.log[0])
given, params = snakemake.input, snakemake.params
labels = io.read_table(given.labels)
change_mm3, masks = labels["fluid_change_mm3"].abs().to_numpy(), io.read_array(given.masks)
scale_bq_mm3 = io.read_json(given.info)["scale_bq_mm3"]
images = io.read_array(given.images)
rows = []
for i_seed, path in enumerate(given.tables):
    split = io.read_table(path)["split"].to_numpy(str)
    real = RealSlices(images, split, labels["tube"].to_numpy(str), scale_bq_mm3)
    train, test = (
        detector.labelled(
            real.of(s)[:], masks[split == s], change_mm3[split == s], params.visible_mm3
        )
        for s in ("train", "test")
    )
    generated = None
    if given.generated:
        made = io.read_table(given.generated_labels[i_seed])["fluid_change_mm3"].abs().to_numpy()
        unit = np.clip(io.read_array(given.generated[i_seed]) / np.float32(scale_bq_mm3), 0, 1)
        drawn = io.read_array(given.generated_masks[i_seed])
        generated = detector.labelled(unit, drawn, made, params.visible_mm3)
    seed = derived_seed(params.seed, "study", "detector", i_seed)
    found = detector.compare(train, generated, test, params.num_steps, seed)
    row = {"num_real": int(snakemake.wildcards.num_train), "seed": i_seed}
    rows.append(row | {"num_positive": int(train.has_defect.sum()), **found})
io.write_table(snakemake.output.table, pd.DataFrame(rows))
logs.log.info("%d seeds in, 1 table out: %s", len(rows), pd.DataFrame(rows).mean().to_dict())
