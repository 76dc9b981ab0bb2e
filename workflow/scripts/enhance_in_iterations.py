"""Reconstruct tubes with a network in the iterations (rule enhance_in_iterations)."""

import torch

from tubepet import io, logs
from tubepet.enhance import evaluate, iterated, pairs, quality, shorts
from tubepet.reconstruct.read import read_settings
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
files, params, output = dict(snakemake.input.items()), snakemake.params, snakemake.output
torch.set_num_threads(1)  # the same sums in the same order on every machine
both = pairs.read(files)
arguments = io.read_json(files["network"])["arguments"]
network = quality.load_enhancer(files["weights"], arguments)
settings = read_settings(files, params.mlem)
short = shorts.Shorts(
    files, params.acquisitions, Scanner(**params.scanner), params.background, params.duration_s,
    settings,
)  # fmt: skip
method = iterated.InIterations(network, settings, both[0].scale_bq_mm3)
again = shorts.Again(short, method, both[0])
chosen = (pairs.select(*both, split) for split in ("val", "test"))
evaluate.write_made(output, evaluate.tuned("iterated", again, iterated.STRENGTHS, *chosen))
