"""Compare GATE with NIST, solid angle, resolutions and count rates (rule validate_physics)."""

from pathlib import Path

from tubepet import io, logs
from tubepet.types import Scanner
from tubepet.validate import physics, physics_figures

logs.start_log(snakemake.log[0])
params, output = snakemake.params, snakemake.output
result = physics.measure(
    Scanner(**params.scanner),
    params.physics_list,
    io.read_json(snakemake.input.g4data),
    params.seed,
    Path(output.facts).parent,
)
io.write_json(output.facts, result)
io.write_figure(output.attenuation, physics_figures.draw_attenuation(result["attenuation"]))
io.write_figure(output.sensitivity, physics_figures.draw_sensitivity(result["sensitivity"]))
io.write_figure(output.energy, physics_figures.draw_peak(result["energy"], "energy in keV"))
io.write_figure(output.time, physics_figures.draw_peak(result["time"], "time difference in ps"))
io.write_figure(output.rates, physics_figures.draw_rates(result["rates"]))
photons = physics_figures.draw_photons(result["photons"], result["attenuation"])
io.write_figure(output.photons, photons)
electrons = physics_figures.draw_electrons(result["electrons"], result["radiative"])
io.write_figure(output.electrons, electrons)
io.write_figure(output.nema, physics_figures.draw_nema(result["nema"]))
official = physics_figures.draw_official(result["official"], result["official_note"])
io.write_figure(output.official, official)
