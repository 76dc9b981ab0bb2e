"""Find the image that shows defects best, and what a map of the true attenuation gives away.

Rule validate_detection.
"""

from tubepet import io, logs
from tubepet.reconstruct.projection.kernels import use_threads
from tubepet.reconstruct.read import read_instrument, read_settings
from tubepet.simulate.water_phantoms import Engine
from tubepet.types import Scanner
from tubepet.validate import detection
from tubepet.validate.reconstruction import Bench

logs.start_log(snakemake.log[0])
files, params, output = dict(snakemake.input.items()), snakemake.params, snakemake.output
use_threads(snakemake.threads)
scanner = Scanner(**params.scanner)
bench = Bench(
    Engine(scanner, params.delay_ns, params.seed, snakemake.threads),
    read_instrument(files, scanner),
    read_settings(files, params.mlem),
    params.background == "modelled",
)
attenuation = detection.compare_attenuation(bench, params.phantom)
ways = detection.summarise(detection.compare_ways(bench, params.phantom))
logs.log.info("%s\n%s", attenuation.to_string(index=False), ways.to_string(index=False))
io.write_table(output.attenuation, attenuation)
io.write_table(output.ways, ways)
io.write_figure(output.figure, detection.draw(ways, attenuation))
