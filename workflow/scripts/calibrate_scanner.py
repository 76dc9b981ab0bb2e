"""Fit the detection efficiency to the calibration source (rule calibrate_scanner)."""

from tubepet import io, logs
from tubepet.reconstruct import calibrate, figures
from tubepet.reconstruct.background import Cylinder
from tubepet.simulate.coincidences import read_coincidences
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
scanner = Scanner(**snakemake.params.scanner)
path, stats = snakemake.input.coincidences, io.read_json(snakemake.input.stats)
half_mm = stats["source"]["length_mm"] / 2
source = Cylinder(stats["source"]["radius_mm"], -half_mm, half_mm)
events = read_coincidences(path, scanner)
found = calibrate.fit_efficiency(events, scanner, source, stats["decays"], path)
io.write_figure(
    snakemake.output.figure,
    figures.draw_calibration(found.counts, found.unit_counts, found.efficiency),
)
io.write_json(
    snakemake.output.calibration,
    {
        "efficiency": found.efficiency.tolist(),
        "coincidences": len(events),
        "decays": stats["decays"],
        "tables": stats["tables"],
        "code": snakemake.params.code,
    },
)
