"""Draw one tube and put it on voxels (rule make_phantom)."""

from tubepet import io, logs
from tubepet.phantom import geometry, maps, picture, spec
from tubepet.types import Volume

logs.start_log(snakemake.log[0])
name, params, output = snakemake.wildcards.tube, snakemake.params, snakemake.output
phantom, protocol = params.phantom, params.protocol
tube = spec.draw_tube(params.drawn_as, phantom, params.override, params.seed)
voxels = geometry.voxelise(tube, phantom["voxel_mm"], phantom["supersampling"])
concentration = maps.concentration_bq_mm3(voxels, protocol["activity_bq"], protocol["per"])
labels = Volume(voxels.labels(), voxels.grid, "0 air, 1 fluid, 2 aluminium")
activity = Volume(maps.activity_bq_mm3(voxels, concentration), voxels.grid, "Bq/mm3")
mu, mu_nominal = (
    Volume(maps.mu_per_mm(made), made.grid, "1/mm at 511 keV")
    for made in (voxels, voxels.nominal())
)
truth = maps.truth(name, tube, voxels, activity.array, params.seed)
io.write_volume(output.labels, labels)
io.write_volume(output.activity, activity)
io.write_volume(output.mu, mu)
io.write_volume(output.mu_nominal, mu_nominal)
io.write_json(output.truth, truth)
io.write_figure(output.picture, picture.draw_tube(labels, activity, truth))
logs.log.info(
    "%s: %s, defect %s; %s voxels (z, y, x), %.0f mm3 of fluid, %.0f Bq",
    name, tube.family, tube.defect, voxels.grid.shape,
    truth["fluid_volume_mm3"], truth["activity_total_bq"],
)  # fmt: skip
