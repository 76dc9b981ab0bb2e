"""Denoise validation and test tubes, each from itself alone (rule enhance_zero_shot)."""

from functools import partial

from tubepet import logs
from tubepet.enhance import evaluate, pairs, zero_shot

logs.start_log(snakemake.log[0])
files = snakemake.input
both = pairs.read(files)
method = partial(zero_shot.all_denoised, seed=snakemake.params.seed)
chosen = (pairs.select(*both, split) for split in ("val", "test"))
made = evaluate.tuned("zero_shot", method, zero_shot.CHANNELS, *chosen)
evaluate.write_made(snakemake.output, made)
