"""Take the candidate that is nearest to the validation slices (rule choose_candidate)."""

from tubepet import io, logs
from tubepet.study import tuning

logs.start_log(snakemake.log[0])
name = snakemake.wildcards.variant
candidates = [io.read_json(path) for path in snakemake.input.scores]
index = tuning.choose(name, candidates)
choice = {"variant": name, "index": index, "set": candidates[index]["set"]}
io.write_json(snakemake.output.choice, choice | {"candidates": candidates})
logs.log.info("%s: %d candidates in, chosen: %s", name, len(candidates), choice["set"])
