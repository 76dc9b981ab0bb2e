"""Draw one tube or an own part and put it on voxels (rule make_phantom)."""

from tubepet import io, logs
from tubepet.phantom import geometry, maps, parts, picture, spec
from tubepet.types import Volume

logs.start_log(snakemake.log[0])
name, params, output = snakemake.wildcards.tube, snakemake.params, snakemake.output
phantom, protocol, own = params.phantom, params.protocol, params.own
note = "0 air, 1 fluid, 2 aluminium"
if own:
    where, note = f"phantom.parts.{params.drawn_as}", "0 air, others: fillings in truth.json"
    voxels = parts.draw(where, own["part"], phantom)
    parts.check_room(where, voxels, parts.Room(**own["room"]))
else:
    tube = spec.draw_tube(params.drawn_as, phantom, params.override, params.seed)
    voxels = geometry.voxelise(tube, phantom["voxel_mm"], phantom["supersampling"])
concentration = maps.concentration_bq_mm3(voxels, protocol["activity_bq"], protocol["per"])
labels = Volume(voxels.labels(), voxels.grid, note)
activity = Volume(maps.activity_bq_mm3(voxels, concentration), voxels.grid, "Bq/mm3")
mu, mu_nominal = (
    Volume(maps.mu_per_mm(made), made.grid, "1/mm at 511 keV")
    for made in (voxels, voxels.nominal())
)
what = voxels, activity.array, params.seed
truth = parts.truth(name, own["part"], *what) if own else maps.truth(name, tube, *what)
io.write_volume(output.labels, labels)
io.write_volume(output.activity, activity)
io.write_volume(output.mu, mu)
io.write_volume(output.mu_nominal, mu_nominal)
io.write_json(output.truth, truth)
io.write_figure(output.picture, picture.draw_tube(labels, activity, truth))
logs.log.info(
    "%s: %s, defect %s; %s voxels (z, y, x), %.0f mm3 of fluid, %.0f Bq",
    name, truth["family"], truth["defect"], voxels.grid.shape,
    truth["fluid_volume_mm3"], truth["activity_total_bq"],
)  # fmt: skip
