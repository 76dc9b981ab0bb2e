"""Proof of the reconstruction by simulated measurements with known answers.

Resolution of a point (NEMA NU 4-2008, section 3, but with MLEM: the point lies in a warm cylinder,
and the image of the warm cylinder alone is taken off, cf. Gong and Cherry 2016, Phys. Med. Biol.
61, N193), image quality (section 6, a smaller phantom), the bore of default tubes, and the smallest
pit. All by the fast engine; the reconstruction is the configured one, and knows nothing of the
answers.
"""

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from tqdm import tqdm

from tubepet import io, rng
from tubepet.logs import log
from tubepet.phantom import geometry as phantom_geometry
from tubepet.phantom import maps, spec
from tubepet.reconstruct import algorithms, mlem, nema, sensitivity
from tubepet.simulate import gate
from tubepet.simulate.coincidences import read_coincidences, read_delayed
from tubepet.simulate.fast import transport
from tubepet.types import Grid, Listmode, Scanner, Volume

Array = NDArray[np.float64]

AIR, FLUID = 0, 1
VOXEL_MM = 0.5
POINT_PLACES_MM = (0.0, 10.0, 25.0, 50.0)
POINT_DECAYS, POINT_SHARE = 3_000_000, 0.1
WARM_RADIUS_MM, WARM_LENGTH_MM = 6.0, 16.0
RODS_MM = (1.0, 2.0, 3.0, 4.0, 5.0)
QUALITY_DECAYS, QUALITY_RADIUS_MM, ROD_CIRCLE_MM = 8_000_000, 14.0, 8.0
QUALITY_PARTS_MM = (-13.0, -4.0, 4.0, 13.0)  # chambers, uniform, rods
CHAMBER_MM, CHAMBER_RADIUS_MM = 6.5, 4.0
CONCENTRATION = 600.0  # Bq/mm3, as the default protocol
DURATIONS_S = (0.1, 1.0, 10.0)
NUM_TUBES = 3
PITS_MM = (1.0, 2.0, 3.0, 4.0)
PIT_SIGNAL_S, NUM_NOISE = 4.0, {0.1: 20, 1.0: 8}
ROSE = 3.0  # contrast-to-noise above which a pit counts as seen


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Attributes
    ----------
    scanner : Scanner
    efficiency : float64 array
        `calibrate.pair_efficiency`.
    settings : dict
        Keyword arguments of `mlem.reconstruct` from the config.
    is_modelled : bool
        Whether the background is modelled (`reconstruct.background`).
    delay_ns : float
    seed : int
    num_threads : int
    """

    scanner: Scanner
    efficiency: Array
    settings: dict[str, Any]
    is_modelled: bool
    delay_ns: float
    seed: int
    num_threads: int


def acquire(
    bench: Bench, name: str, labels: Volume, activity: Volume, duration_s: float
) -> tuple[Listmode, Listmode | None]:
    """Simulate one acquisition: prompts, and delayed pairs if the background is modelled.

    Parameters
    ----------
    labels : Volume of uint8
        0 air, 1 water, 2 aluminium.
    activity : Volume
        Bq/mm3 on the grid of the labels.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / part for part in ("labels.nii.gz", "activity.nii.gz", "c.root")]
        io.write_volume(paths[0], labels)
        io.write_volume(paths[1], activity)
        seed = rng.derived_seed(bench.seed, "proof", name)
        transport.simulate(
            name, gate.tube_source(paths[0], paths[1], labels.grid),
            gate.total_activity_bq(activity), duration_s, bench.scanner, seed, bench.num_threads,
            paths[2], bench.delay_ns, "cpu",
        )  # fmt: skip
        events = read_coincidences(paths[2], bench.scanner)
        delayed = read_delayed(paths[2], bench.scanner) if bench.is_modelled else None
    return events, delayed


def measure(
    bench: Bench,
    name: str,
    labels: Volume,
    activity: Volume,
    mu: Volume,
    duration_s: float,
    geometric: Volume,
) -> Volume:
    """Simulate one acquisition and reconstruct it, Bq/mm3.

    Parameters
    ----------
    labels, activity
        As `acquire`.
    mu : Volume
        1/mm.
    geometric : Volume
        `sensitivity.geometric_sensitivity` on the grid of the image.
    """
    events, delayed = acquire(bench, name, labels, activity, duration_s)
    image, _ = mlem.reconstruct(
        events, bench.scanner, bench.efficiency, geometric, mu, duration_s, **bench.settings,
        seed=bench.seed, delayed=delayed,
    )  # fmt: skip
    return image


def painted(
    radius_mm: float, length_mm: float, x_mm: float, voxel_mm: float,
    activity: Callable[[Array, Array, Array], Array],
    is_air: Callable[[Array, Array, Array], NDArray[np.bool_]],
) -> tuple[Volume, Volume, Volume]:  # fmt: skip
    """Labels, activity and attenuation of a water cylinder along z around (x_mm, 0).

    Parameters
    ----------
    activity : function of x, y, z (mm, relative to the cylinder's middle)
        Bq/mm3 inside the cylinder.
    is_air : function of the same
        Where there is air instead of water.
    """
    num = int(np.ceil(2 * radius_mm / voxel_mm)) + 2
    shape = (round(length_mm / voxel_mm) + 2, num, num)
    centred = Grid.centred(shape, (voxel_mm,) * 3)
    origin = (centred.origin_mm[0], centred.origin_mm[1], centred.origin_mm[2] + x_mm)
    grid = Grid(shape, centred.voxel_mm, origin)
    z, y, x = np.meshgrid(*centred.axes_mm(), indexing="ij")
    inside = (np.hypot(x, y) < radius_mm) & (np.abs(z) < length_mm / 2)
    water = inside & ~is_air(x, y, z)
    values = np.where(water, activity(x, y, z), 0.0).astype(np.float32)
    mu = np.where(water, maps.MU_WATER_PER_MM, 0.0).astype(np.float32)
    labels = np.where(water, FLUID, AIR).astype(np.uint8)
    return Volume(labels, grid), Volume(values, grid), Volume(mu, grid)


def geometric_of(bench: Bench, grid: Grid) -> Volume:
    """Sensitivity without attenuation on any grid."""
    return Volume(sensitivity.geometric_sensitivity(bench.scanner, grid, bench.efficiency), grid)


def point_grid(place_mm: float) -> Grid:
    """Grid of the image of a point at a distance from the axis."""
    grid = Grid.centred((40, 48, 48), (VOXEL_MM,) * 3)
    return Grid(
        grid.shape,
        grid.voxel_mm,
        (grid.origin_mm[0], grid.origin_mm[1], grid.origin_mm[2] + place_mm),
    )


def point_volumes(place_mm: float, share: float) -> tuple[Volume, Volume, Volume]:
    """Labels, activity and attenuation of a warm cylinder with a point in its middle.

    Parameters
    ----------
    share : float
        Activity of the point over that of the cylinder.
    """
    warm = WARM_RADIUS_MM**2 * np.pi * WARM_LENGTH_MM * CONCENTRATION
    point = share * warm / VOXEL_MM**3

    def activity(x: Array, y: Array, z: Array) -> Array:
        # grids have an even number of voxels: the point is the one above the middle
        is_point = (np.abs(np.stack([x, y, z]) - VOXEL_MM / 2) < VOXEL_MM / 2).all(axis=0)
        return np.where(is_point, CONCENTRATION + point, CONCENTRATION)

    return painted(
        WARM_RADIUS_MM, WARM_LENGTH_MM, place_mm, VOXEL_MM, activity,
        lambda x, y, z: np.zeros(x.shape, bool),
    )  # fmt: skip


def measure_resolution(bench: Bench) -> pd.DataFrame:
    """FWHM and FWTM of a 0.5 mm cube of activity at several distances from the axis.

    Returns
    -------
    DataFrame
        distance_mm, axis (radial, tangential, axial), fwhm_mm, fwtm_mm.
    """
    sharp = dataclasses.replace(bench, settings={**bench.settings, "filter_fwhm_mm": 0.0})
    rows = []
    for place_mm in POINT_PLACES_MM:
        geometric = geometric_of(sharp, point_grid(place_mm))
        images = []
        for share in (POINT_SHARE, 0.0):
            volumes = point_volumes(place_mm, share)
            duration_s = POINT_DECAYS * (1 + share) / gate.total_activity_bq(volumes[1])
            name = f"point {place_mm} {share}"
            images.append(measure(sharp, name, *volumes, duration_s, geometric))
        point_image = Volume(images[0].array - images[1].array, images[0].grid)
        half, tenth = (nema.point_widths_mm(point_image, level) for level in (0.5, 0.1))
        for axis, i in (("radial", 2), ("tangential", 1), ("axial", 0)):
            rows.append((place_mm, axis, half[i], tenth[i]))
    return pd.DataFrame(rows, columns=["distance_mm", "axis", "fwhm_mm", "fwtm_mm"])


def fit_resolution(bench: Bench) -> pd.DataFrame:
    """Fit the Gaussian of the resolution model where the activity is known.

    The events of the point in its warm cylinder, and of the true activity blurred by a Gaussian:
    the FWHM of greatest likelihood (`algorithms.log_likelihood`). Nothing is reconstructed.

    Returns
    -------
    DataFrame
        distance_mm, fwhm_mm.
    """
    rows = []
    for place_mm in POINT_PLACES_MM:
        geometric = geometric_of(bench, point_grid(place_mm))
        labels, activity, mu = point_volumes(place_mm, POINT_SHARE)
        duration_s = POINT_DECAYS * (1 + POINT_SHARE) / gate.total_activity_bq(activity)
        name = f"point {place_mm} {POINT_SHARE}"
        events, delayed = acquire(bench, name, labels, activity, duration_s)
        model = mlem.model_acquisition(
            events, bench.scanner, bench.efficiency, geometric, mu, duration_s, 1,
            bench.settings["psf_fwhm_mm"], delayed,
        )  # fmt: skip
        grid = geometric.grid
        truth = centred_onto(activity, grid)

        def misfit(
            fwhm_mm: float, model: mlem.Acquisition = model, truth: Array = truth, grid: Grid = grid
        ) -> float:
            seen = algorithms.smoothed(model.sensitivity_s, grid, fwhm_mm)
            blurred = algorithms.smoothed(truth, grid, fwhm_mm)
            return -algorithms.log_likelihood(truth, blurred, grid, model.lines, seen)

        best = minimize_scalar(misfit, bounds=(0.5, 6.0), method="bounded", options={"xatol": 0.02})
        rows.append((place_mm, float(best.x)))
    return pd.DataFrame(rows, columns=["distance_mm", "fwhm_mm"])


def centred_onto(volume: Volume, grid: Grid) -> Array:
    """Put a volume into the middle of a larger grid of the same voxels and the same centre."""
    padding = []
    for large, small in zip(grid.shape, volume.grid.shape, strict=True):
        assert large >= small and (large - small) % 2 == 0
        padding.append(((large - small) // 2,) * 2)
    return np.pad(volume.array.astype(np.float64), padding)


def rod_places_mm() -> list[tuple[float, float, float]]:
    """(diameter, x, y) of the rods of the quality phantom."""
    turns = 2 * np.pi * np.arange(len(RODS_MM)) / len(RODS_MM)
    return [
        (diameter, ROD_CIRCLE_MM * float(np.cos(turn)), ROD_CIRCLE_MM * float(np.sin(turn)))
        for diameter, turn in zip(RODS_MM, turns, strict=True)
    ]


def measure_quality(bench: Bench, geometric: Volume) -> tuple[dict[str, Any], Volume]:
    """Uniformity, recovery of hot rods in cold water, spill-over into cold water and air.

    Returns
    -------
    dict
        uniform_bq_mm3, uniformity_percent (standard deviation), recovery {diameter: [coefficient,
        percent deviation]}, spill_over {water, air}.
    Volume
        The image.
    """
    low, first, second, high = QUALITY_PARTS_MM

    def activity(x: Array, y: Array, z: Array) -> Array:
        in_rod = np.zeros(x.shape, bool)
        for diameter, rod_x, rod_y in rod_places_mm():
            in_rod |= np.hypot(x - rod_x, y - rod_y) < diameter / 2
        in_chamber = np.hypot(np.abs(x) - CHAMBER_MM, y) < CHAMBER_RADIUS_MM
        hot = np.where(z > second, in_rod, np.where(z < first, ~in_chamber, True))
        return np.where(hot, CONCENTRATION, 0.0)

    def is_air(x: Array, y: Array, z: Array) -> NDArray[np.bool_]:
        return (z < first) & (np.hypot(x - CHAMBER_MM, y) < CHAMBER_RADIUS_MM)

    volumes = painted(QUALITY_RADIUS_MM, high - low, 0.0, 0.25, activity, is_air)
    duration_s = QUALITY_DECAYS / gate.total_activity_bq(volumes[1])
    image = measure(bench, "quality", *volumes, duration_s, geometric)
    uniform = image.array[
        nema.cylinder_mask(image, 0, 0, 0.75 * QUALITY_RADIUS_MM, first + 1.5, second - 1.5)
    ].astype(np.float64)
    mean = float(uniform.mean())
    rods = {}
    for diameter, x, y in rod_places_mm():
        value, spread = nema.recovery(image, x, y, diameter, second + 2, high - 2)
        rods[f"{diameter:g}"] = [value / mean, 100 * spread / value]
    cold = {
        kind: float(
            image.array[
                nema.cylinder_mask(image, x, 0, CHAMBER_RADIUS_MM / 2, low + 2, first - 2)
            ].mean()
        )
        / mean
        for kind, x in (("air", CHAMBER_MM), ("water", -CHAMBER_MM))
    }
    found = {
        "uniform_bq_mm3": mean,
        "true_bq_mm3": CONCENTRATION,
        "uniformity_percent": float(100 * uniform.std() / mean),
        "recovery": rods,
        "spill_over": cold,
        "decays": QUALITY_DECAYS,
    }
    return found, image


def tube_volumes(
    phantom: dict[str, Any], name: str, fixed: dict[str, Any], seed: int
) -> tuple[Volume, Volume, Volume]:
    """Labels, activity and attenuation of a default tube, or one with fixed sizes."""
    tube = spec.draw_tube(name, phantom, fixed, seed)
    voxels = phantom_geometry.voxelise(tube, phantom["voxel_mm"], phantom["supersampling"])
    grid = voxels.grid
    activity = maps.activity_bq_mm3(voxels, CONCENTRATION)
    mu = Volume(maps.mu_per_mm(voxels), grid)
    return Volume(voxels.labels(), grid), Volume(activity, grid), mu


def measure_bores(bench: Bench, phantom: dict[str, Any], geometric: Volume) -> pd.DataFrame:
    """Diameter of the circle as large as the bore, slice by slice, against the truth.

    The wall shows only by its inside: there is no activity outside it.

    Returns
    -------
    DataFrame
        tube, duration_s, bias_mm, deviation_mm (over slices), num_slices.
    """
    rows = []
    for number in range(NUM_TUBES):
        name = f"tube_{number:04d}"
        volumes = tube_volumes(phantom, name, {"defect": "none"}, bench.seed)
        truth = volumes[1]
        z_mm = truth.grid.axes_mm()[0]
        area_mm2 = (truth.array / CONCENTRATION).sum(axis=(1, 2)) * np.prod(truth.grid.voxel_mm[1:])
        for duration_s in DURATIONS_S[:2]:
            image = measure(bench, f"{name} {duration_s}", *volumes, duration_s, geometric)
            differences = []
            for k, place in enumerate(image.grid.axes_mm()[0]):
                if abs(place) > np.abs(z_mm[area_mm2 > 0]).max() - 3:
                    continue  # the ends blur along the tube
                true_mm = 2 * np.sqrt(np.interp(place, z_mm, area_mm2) / np.pi)
                pixel_mm2 = image.grid.voxel_mm[1] * image.grid.voxel_mm[2]
                section = image.array[k].astype(np.float64)
                differences.append(nema.equivalent_diameter_mm(section, pixel_mm2) - true_mm)
            mean, spread = float(np.mean(differences)), float(np.std(differences, ddof=1))
            rows.append((name, duration_s, mean, spread, len(differences)))
    columns = ["tube", "duration_s", "bias_mm", "deviation_mm", "num_slices"]
    return pd.DataFrame(rows, columns=columns)


def measure_pits(bench: Bench, phantom: dict[str, Any], geometric: Volume) -> pd.DataFrame:
    """Contrast-to-noise of pits of known place in the wall of a round tube.

    Signal: mean over a ball at the pit (its diameter, at least the resolution) minus that of the
    tube without pit, from long acquisitions. Noise: standard deviation of the same mean over
    repeated acquisitions without pit; at the longest duration that of the second, over the root of
    the ratio of times.

    Returns
    -------
    DataFrame
        duration_s, pit_mm, contrast_to_noise.
    """
    fixed = {
        "family": "round", "bore_radius_mm": 8.0, "wall_mm": 5.0, "length_mm": 24.0,
        "orientation_deg": 0.0,
    }  # fmt: skip
    plain = tube_volumes(phantom, "tube_0000", {**fixed, "defect": "none"}, bench.seed)

    def image_of(name: str, volumes: tuple[Volume, Volume, Volume], duration_s: float) -> Volume:
        return measure(bench, f"pits {name}", *volumes, duration_s, geometric)

    noisy = {
        duration_s: [image_of(f"{duration_s} {n}", plain, duration_s) for n in range(num)]
        for duration_s, num in tqdm(NUM_NOISE.items(), desc="noise", disable=None)
    }
    reference = image_of("plain", plain, PIT_SIGNAL_S)
    rows = []
    for pit_mm in PITS_MM:
        pit = {**fixed, "defect": "pit", "defect_size_mm": pit_mm, "defect_z_mm": 0.0,
               "defect_deg": 0.0}  # fmt: skip
        volumes = tube_volumes(phantom, "tube_0000", pit, bench.seed)
        extra = _onto(volumes[1], plain[1])
        found = image_of(f"{pit_mm}", volumes, PIT_SIGNAL_S)
        z, y, x = np.meshgrid(*found.grid.axes_mm(), indexing="ij")
        radius = max(pit_mm, bench.settings["psf_fwhm_mm"]) / 2
        away = np.sqrt((x - extra[0]) ** 2 + (y - extra[1]) ** 2 + (z - extra[2]) ** 2)
        region = away <= radius
        signal = float((found.array - reference.array)[region].mean())
        noise = {
            duration_s: float(np.std([i.array[region].mean() for i in images], ddof=1))
            for duration_s, images in noisy.items()
        }
        noise[DURATIONS_S[2]] = noise[DURATIONS_S[1]] * np.sqrt(DURATIONS_S[1] / DURATIONS_S[2])
        rows += [(duration_s, pit_mm, signal / noise[duration_s]) for duration_s in DURATIONS_S]
    return pd.DataFrame(rows, columns=["duration_s", "pit_mm", "contrast_to_noise"])


def _onto(with_pit: Volume, without: Volume) -> Array:
    """Centre (x, y, z) of the activity that one tube has and the other has not, mm."""
    total = np.zeros(3)
    weight = 0.0
    for sign, volume in ((1.0, with_pit), (-1.0, without)):
        z, y, x = np.meshgrid(*volume.grid.axes_mm(), indexing="ij")
        values = sign * volume.array.astype(np.float64)
        total += [(values * x).sum(), (values * y).sum(), (values * z).sum()]
        weight += float(values.sum())
    return np.asarray(total / weight)


def smallest_pits_mm(pits: pd.DataFrame) -> dict[str, float | None]:
    """Interpolate the diameter at which the contrast-to-noise is `ROSE`; None: not reached."""
    found: dict[str, float | None] = {}
    for duration_s, rows in pits.groupby("duration_s"):
        ratio, size = rows["contrast_to_noise"].to_numpy(), rows["pit_mm"].to_numpy()
        if ratio[-1] < ROSE:
            found[f"{duration_s:g}"] = None
        else:
            found[f"{duration_s:g}"] = float(np.interp(ROSE, np.maximum.accumulate(ratio), size))
    return found


def prove(bench: Bench, phantom: dict[str, Any], geometric: Volume) -> dict[str, Any]:
    """Make all measurements: plain data, but for ``image``, that of the quality phantom."""
    fitted = fit_resolution(bench)
    log.info("resolution of the model, fitted\n%s", fitted.to_string(index=False))
    resolution = measure_resolution(bench)
    log.info("resolution\n%s", resolution.to_string(index=False))
    quality, image = measure_quality(bench, geometric)
    log.info("quality %s", quality)
    bores = measure_bores(bench, phantom, geometric)
    log.info("bores\n%s", bores.to_string(index=False))
    pits = measure_pits(bench, phantom, geometric)
    log.info("pits\n%s", pits.to_string(index=False))
    return {
        "fitted_resolution": fitted.to_dict("records"),
        "resolution": resolution.to_dict("records"),
        "quality": quality,
        "bores": bores.to_dict("records"),
        "pits": pits.to_dict("records"),
        "smallest_pit_mm": smallest_pits_mm(pits),
        "image": image,
    }


def draw(found: dict[str, Any]) -> Figure:
    """Draw widths, the quality phantom, recovery and the pits."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
    resolution, pits = pd.DataFrame(found["resolution"]), pd.DataFrame(found["pits"])
    for axis, rows in resolution.groupby("axis"):
        axes[0, 0].plot(rows["distance_mm"], rows["fwhm_mm"], "o-", label=axis)
    axes[0, 0].set(xlabel="distance from the axis / mm", ylabel="FWHM / mm", title="point")
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].legend()
    quality, image = found["quality"], found["image"]
    sizes = [float(size) for size in quality["recovery"]]
    values = [value for value, _ in quality["recovery"].values()]
    errors = [value * spread / 100 for value, spread in quality["recovery"].values()]
    axes[0, 1].errorbar(sizes, values, errors, fmt="o-")
    axes[0, 1].axhline(1, color="grey", lw=0.8)
    axes[0, 1].set(xlabel="diameter of the rod / mm", ylabel="recovered", title="hot rods")
    for duration_s, rows in pits.groupby("duration_s"):
        axes[0, 2].plot(rows["pit_mm"], rows["contrast_to_noise"], "o-", label=f"{duration_s:g} s")
    axes[0, 2].axhline(ROSE, color="grey", lw=0.8)
    axes[0, 2].set(xlabel="diameter of the pit / mm", ylabel="contrast to noise", yscale="log")
    axes[0, 2].set_title("pits in the wall")
    axes[0, 2].legend()
    z_mm = image.grid.axes_mm()[0]
    for axis, place, what in zip(
        axes[1], (-8.5, 0.0, 8.5), ("chambers: water, air", "uniform", "rods"), strict=True
    ):
        y_mm, x_mm = image.grid.axes_mm()[1:]
        near = np.abs(z_mm - place) <= 2
        axis.imshow(
            image.array[near].mean(axis=0), origin="lower", cmap="magma", vmin=0,
            vmax=1.3 * quality["true_bq_mm3"], extent=(x_mm[0], x_mm[-1], y_mm[0], y_mm[-1]),
        )  # fmt: skip
        axis.set(xlabel="x / mm", ylabel="y / mm", title=what)
    return figure
