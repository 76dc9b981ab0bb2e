"""Fit the detection efficiency to the calibration source (rule calibrate_scanner)."""

from tubepet import io, logs
from tubepet.reconstruct import calibration, figures
from tubepet.reconstruct.background import detection
from tubepet.reconstruct.scanner import fingerprint, geometry, normalisation
from tubepet.reconstruct.scanner.lors import Cylinder
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.types import Scanner

logs.start_log(snakemake.log[0])
scanner = Scanner(**snakemake.params.scanner)
path, stats = snakemake.input.coincidences, io.read_json(snakemake.input.stats)
half_mm = stats["source"]["length_mm"] / 2
source = Cylinder(stats["source"]["radius_mm"], -half_mm, half_mm)
events = read_coincidences(path, scanner)
if scanner.is_even_ring:
    found = calibration.fit_efficiency(events, scanner, source, stats["decays"], path)
    figure = figures.draw_calibration(found, geometry.axis_distances_mm(scanner))
    fitted = {"by_step": found.by_step.tolist(), "by_difference": found.by_difference.tolist()}
else:
    delayed = read_delayed(path, scanner)
    normal = calibration.normalise(events, delayed, scanner, source, stats["decays"], path)
    figure, fitted = figures.draw_normalisation(normal), normalisation.as_dict(normal)
io.write_figure(snakemake.output.figure, figure)
facts = {
    "coincidences": len(events),
    "decays": stats["decays"],
    "seen_kev": detection.detection_table(scanner).tolist(),
    "scanner": fingerprint.scanner_hash(scanner),
    "tables": stats["tables"],
    "code": snakemake.params.code,
}
io.write_json(snakemake.output.calibration, {**fitted, **facts})
