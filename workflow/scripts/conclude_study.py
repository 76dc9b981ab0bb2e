"""Write tables, figures and the page of conclusions from all scores (rule conclude_study)."""

import pandas as pd

from tubepet import io, logs
from tubepet.dataset.slices import Slices
from tubepet.evaluate import figures as pictures
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.study import cost, figures, page, scores, tables, tuning

logs.start_log(snakemake.log[0])
given, output, params = snakemake.input, snakemake.output, snakemake.params
study, real = params.study, io.read_json(given.real)
runs = [row for path in given.scores for row in io.read_json(path)]
floor = [{"num_train": scores.ALL, **row} for row in real["rows"]]
counted = [space for space, gate in real["facts"]["gates"].items() if gate["is_passed"]]
found = scores.Scores(runs + floor, counted)
costs = cost.table([io.read_json(path) for path in given.costs], runs)
detectors = pd.concat([pd.DataFrame(), *map(io.read_table, given.detectors)])
tried = tuning.table([io.read_json(path) for path in given.choices])
claims = scores.claims_of(study["variants"], found)
io.write_text(output.page, page.make_page(study, claims, found, real["facts"]))
text = tables.make_tables(study, claims, found, costs, tried, detectors, real["facts"])
io.write_text(output.tables, text)

names = [FLOOR, COPY, *study["variants"]]
io.write_table(output.table, scores.main_table(names, found, list(scores.all_descriptions())))
io.write_table(output.runs, scores.runs_table(runs + floor))
io.write_table(output.costs, costs)
io.write_figure(output.claims, figures.draw_claims(names, claims, found))
io.write_figure(output.variants, figures.draw_variants(names, found))
draw = figures.draw_curve(study["curve"], real["facts"]["num_train"], found)
io.write_figure(output.curve, draw)
io.write_figure(output.detector, figures.draw_detector(detectors))
slices = Slices.read(given.images, given.table, given.info)
test, train, scale = slices.of("test"), slices.of("train"), slices.scale_bq_mm3
samples = {n: io.read_array(p)[:100] for n, p in zip(params.pictured, given.samples, strict=True)}
io.write_figure(output.samples, pictures.draw_samples(test, samples, scale))
io.write_figure(output.neighbours, pictures.draw_neighbours(train, samples, scale))
logs.log.info("%d runs of %d variants in, 1 page out", len(runs), len(study["variants"]))
