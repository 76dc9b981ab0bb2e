"""Reconstruct validation and test tubes with a prior (rule enhance_with_prior)."""

from tubepet import logs
from tubepet.enhance import evaluate, pairs, penalised, shorts
from tubepet.reconstruct.read import read_settings
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
files, params = dict(snakemake.input.items()), snakemake.params
both = pairs.read(files)
settings = read_settings(files, params.mlem)
short = shorts.Shorts(
    files, params.acquisitions, Scanner(**params.scanner), params.background, params.duration_s,
    settings,
)  # fmt: skip
again = shorts.Again(short, penalised.Penalised(settings), both[0])
chosen = (pairs.select(*both, split) for split in ("val", "test"))
made = evaluate.tuned("map_rdp", again, penalised.STRENGTHS, *chosen)
evaluate.write_made(snakemake.output, made)
