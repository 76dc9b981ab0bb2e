"""Train defect detectors with and without generated slices (rule train_detectors)."""

from dataclasses import replace

import pandas as pd

from tubepet import io, logs
from tubepet.dataset.slices import Slices
from tubepet.dataset.stack import whole
from tubepet.rng import derived_seed
from tubepet.study import detector

logs.start_log(snakemake.log[0])
given, params = snakemake.input, snakemake.params
slices = Slices.read(given.images, given.tables[0], given.info)
change_mm3 = slices.labels(given.labels)["fluid_change_mm3"].abs().to_numpy()
masks = slices.drawn(given.masks)
rows = []
for i_seed, path in enumerate(given.tables):
    real = replace(slices, table=io.read_table(path))
    train, test = (
        detector.labelled(s[:], masks[s.rows], change_mm3[s.rows], params.visible_mm3)
        for s in (real.of("train"), real.of("test"))
    )
    generated = None
    if given.generated:
        made = io.read_table(given.generated_labels[i_seed])["fluid_change_mm3"].abs().to_numpy()
        unit = whole(io.read_array(given.generated[i_seed]), slices.scale_bq_mm3)[:]
        drawn = io.read_array(given.generated_masks[i_seed])
        generated = detector.labelled(unit, drawn, made, params.visible_mm3)
    seed = derived_seed(params.seed, "study", "detector", i_seed)
    found = detector.compare(train, generated, test, params.num_steps, seed)
    row = {"num_real": int(snakemake.wildcards.num_train), "seed": i_seed}
    rows.append(row | {"num_positive": int(train.has_defect.sum()), **found})
io.write_table(snakemake.output.table, pd.DataFrame(rows))
logs.log.info("%d seeds in, 1 table out: %s", len(rows), pd.DataFrame(rows).mean().to_dict())
