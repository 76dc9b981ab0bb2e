"""Check the reconstruction by simulated measurements with known answers.

It measures the resolution of a point (NEMA NU 4-2008, section 3), image quality (section 6, a
smaller phantom), the bore of default tubes, and the smallest visible pit. For MLEM the point lies
in a warm cylinder, whose own image is subtracted (cf. Gong and Cherry 2016, Phys. Med. Biol. 61,
N193). The fast engine simulates; the configured reconstruction knows nothing of the answers.
"""

import dataclasses
from dataclasses import dataclass, replace
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tubepet import layout
from tubepet.logs import Bar, log
from tubepet.phantom import geometry as phantom_geometry
from tubepet.phantom import maps, spec
from tubepet.reconstruct import resolution
from tubepet.reconstruct.acquisition import model_acquisition
from tubepet.reconstruct.image import reconstruct
from tubepet.reconstruct.problem import Instrument, Measurement, Settings
from tubepet.reconstruct.projection import sensitivity
from tubepet.simulate import sources
from tubepet.simulate.water_phantoms import Engine, Phantom, acquire, centred_onto, painted
from tubepet.types import Grid, Listmode, Volume
from tubepet.validate import nema

Array = NDArray[np.float64]

VOXEL_MM = 0.5
POINT_PLACES_MM = (0.0, 10.0, 25.0, 50.0)
# Activity of the point over the cylinder's. In the image the point is about ten times as bright as
# the cylinder, as bright, and a tenth as bright.
POINT_DECAYS, POINT_SHARES = 2_000_000, (0.1, 0.02, 0.002)
WARM_RADIUS_MM, WARM_LENGTH_MM = 6.0, 16.0
RODS_MM = (1.0, 2.0, 3.0, 4.0, 5.0)
QUALITY_DECAYS, QUALITY_RADIUS_MM, ROD_CIRCLE_MM = 8_000_000, 14.0, 8.0
QUALITY_PARTS_MM = (-13.0, -4.0, 4.0, 13.0)  # chambers, uniform, rods
CHAMBER_MM, CHAMBER_RADIUS_MM = 6.5, 4.0
CONCENTRATION = 600.0  # Bq/mm3, as the default protocol
DURATIONS_S = (0.1, 1.0, 10.0)
NUM_TUBES = 3
PITS_MM = (1.0, 2.0, 3.0, 4.0)
PIT_SIGNAL_S, NUM_NOISE, NUM_TURNS = 2.0, {0.1: 8, 1.0: 3, 2.0: 2}, 8
PIT_REGION_MM = 2.1  # diameter of the smallest region a pit is looked for in
ROSE = 3.0  # contrast-to-noise above which a pit counts as seen


@dataclass(frozen=True)
class Bench:
    """What all measurements share.

    Attributes
    ----------
    engine : Engine
    instrument : Instrument
    settings : Settings
        Of the config.
    is_modelled : bool
        Whether the background is modelled (`reconstruct.background`).
    """

    engine: Engine
    instrument: Instrument
    settings: Settings
    is_modelled: bool


def measure(bench: Bench, name: str, phantom: Phantom, duration_s: float) -> Volume:
    """Simulate one acquisition and reconstruct it, Bq/mm3."""
    events, delayed = acquire(bench.engine, name, phantom, duration_s)
    return image_of(bench, Measurement(events, phantom.mu, duration_s, delayed))


def image_of(bench: Bench, measured: Measurement) -> Volume:
    """Reconstruct an acquisition as configured, Bq/mm3."""
    if not bench.is_modelled:
        measured = replace(measured, delayed=None)
    model = model_acquisition(measured, bench.instrument, bench.settings)
    return reconstruct(model, bench.settings, bench.engine.seed)[0]


def onto(bench: Bench, grid: Grid) -> Bench:
    """Return the bench for images on another grid."""
    scanner, efficiency = bench.instrument.scanner, bench.instrument.efficiency
    geometric = Volume(sensitivity.geometric_sensitivity(scanner, grid, efficiency), grid)
    return replace(bench, instrument=Instrument(scanner, efficiency, geometric))


def point_grid(place_mm: float) -> Grid:
    """Grid of the image of a point at a distance from the axis."""
    grid = Grid.centred((40, 48, 48), (VOXEL_MM,) * 3)
    return Grid(
        grid.shape,
        grid.voxel_mm,
        (grid.origin_mm[0], grid.origin_mm[1], grid.origin_mm[2] + place_mm),
    )


def point_phantom(place_mm: float, warm: float, point: float) -> Phantom:
    """Paint a water cylinder with a point in its middle.

    Parameters
    ----------
    warm, point : float
        Bq/mm3 of the cylinder and of the voxel of the point.
    """

    def activity(x: Array, y: Array, z: Array) -> Array:
        # grids have an even number of voxels: the point is the one above the middle
        is_point = (np.abs(np.stack([x, y, z]) - VOXEL_MM / 2) < VOXEL_MM / 2).all(axis=0)
        return np.where(is_point, point, warm)

    return painted(
        WARM_RADIUS_MM, WARM_LENGTH_MM, place_mm, VOXEL_MM, activity,
        lambda x, y, z: np.zeros(x.shape, bool),
    )  # fmt: skip


def measure_points(bench: Bench) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure the widths of a 0.5 mm cube of activity in warm water, and fit a resolution kernel.

    The cylinder and the point are acquired apart, and their events are joined: all of the point's,
    or the first of them for a lower contrast. Images with and without the point share the
    cylinder's noise, so their difference is the point alone (inserted, as by Gong and Cherry). Only
    randoms between the two are missing.

    Returns
    -------
    DataFrame
        distance_mm, contrast (highest value of the point over the cylinder's activity), axis
        (radial, tangential, axial), fwhm_mm, fwtm_mm.
    DataFrame
        distance_mm, core_mm, axial_mm, tail_share, tail_mm, single_mm: `resolution.fit_kernel` to
        the point's events.
    """
    rows, kernels = [], []
    sharp = replace(bench, settings=replace(bench.settings, filter_fwhm_mm=0.0))
    for place_mm in POINT_PLACES_MM:
        here = onto(sharp, point_grid(place_mm))
        warm = point_phantom(place_mm, CONCENTRATION, 0.0)
        total_bq = sources.total_activity_bq(warm.activity)
        point = point_phantom(place_mm, 0.0, POINT_SHARES[0] * total_bq / VOXEL_MM**3)
        duration_s = POINT_DECAYS / total_bq
        parts = [
            acquire(bench.engine, f"{name} {place_mm}", phantom, duration_s)
            for name, phantom in (("warm", warm), ("point", point))
        ]
        warm_only, point_only = (
            Measurement(events, warm.mu, duration_s, delayed) for events, delayed in parts
        )
        kernels.append((place_mm, *_fitted(here, point_only, point.activity)))
        plain = image_of(here, warm_only)
        for share in POINT_SHARES:
            kept = (_first(part, share / POINT_SHARES[0]) for part in parts[1])
            events, delayed = (_joined(*pair) for pair in zip(parts[0], kept, strict=True))
            image = image_of(here, replace(warm_only, events=events, delayed=delayed))
            alone = Volume(image.array - plain.array, image.grid)
            half, tenth = (nema.point_widths_mm(alone, level) for level in (0.5, 0.1))
            contrast = float(alone.array.max()) / CONCENTRATION
            for axis, i in (("radial", 2), ("tangential", 1), ("axial", 0)):
                rows.append((place_mm, contrast, axis, half[i], tenth[i]))
    columns = ["distance_mm", "core_mm", "axial_mm", "tail_share", "tail_mm", "single_mm"]
    return (
        pd.DataFrame(rows, columns=["distance_mm", "contrast", "axis", "fwhm_mm", "fwtm_mm"]),
        pd.DataFrame(kernels, columns=columns),
    )


def _first(events: Listmode, share: float) -> Listmode:
    """Return the first events, which are the events of a weaker source."""
    num = round(share * len(events))
    return Listmode(*(getattr(events, field.name)[:num] for field in dataclasses.fields(events)))


def _joined(one: Listmode, other: Listmode) -> Listmode:
    return Listmode(
        *(
            np.concatenate([getattr(part, field.name) for part in (one, other)])
            for field in dataclasses.fields(one)
        )
    )


def _fitted(bench: Bench, measured: Measurement, activity: Volume) -> tuple[float, ...]:
    """Widths and share of the kernel that fits a known activity, and of a single Gaussian."""
    instrument = bench.instrument
    settings = Settings(0, psf=bench.settings.psf, sensitivity_stride=16)
    model = model_acquisition(measured, instrument, settings)
    truth = centred_onto(activity, instrument.grid)
    found = resolution.fit_kernel(
        model, truth, float(layout.table(instrument.scanner).sizes_mm[0, 1])
    )
    core, tail = found.kernel
    return core.transaxial_mm, core.axial_mm, tail.share, tail.transaxial_mm, found.fwhm_mm


def rod_places_mm() -> list[tuple[float, float, float]]:
    """(diameter, x, y) of the rods of the quality phantom."""
    turns = 2 * np.pi * np.arange(len(RODS_MM)) / len(RODS_MM)
    return [
        (diameter, ROD_CIRCLE_MM * float(np.cos(turn)), ROD_CIRCLE_MM * float(np.sin(turn)))
        for diameter, turn in zip(RODS_MM, turns, strict=True)
    ]


def measure_quality(bench: Bench) -> tuple[dict[str, Any], Volume]:
    """Measure uniformity, recovery of hot rods, and spill-over into cold water and air.

    Returns
    -------
    dict
        uniform_bq_mm3, true_bq_mm3, uniformity_percent (standard deviation), recovery {diameter:
        [coefficient, percent deviation]}, spill_over {water, air}, decays.
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

    phantom = painted(QUALITY_RADIUS_MM, high - low, 0.0, 0.25, activity, is_air)
    duration_s = QUALITY_DECAYS / sources.total_activity_bq(phantom.activity)
    image = measure(bench, "quality", phantom, duration_s)
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


def tube_phantom(ranges: dict[str, Any], name: str, fixed: dict[str, Any], seed: int) -> Phantom:
    """Voxelise a tube of the config section `phantom`, or one with fixed sizes.

    Its attenuation is that of the drawing: the reconstruction does not know the defect.
    """
    tube = spec.draw_tube(name, ranges, fixed, seed)
    voxels = phantom_geometry.voxelise(tube, ranges["voxel_mm"], ranges["supersampling"])
    grid = voxels.grid
    activity = maps.activity_bq_mm3(voxels, CONCENTRATION)
    mu = Volume(maps.mu_per_mm(voxels.nominal()), grid)
    return Phantom(Volume(voxels.labels(), grid), Volume(activity, grid), mu)


def measure_bores(bench: Bench, ranges: dict[str, Any]) -> pd.DataFrame:
    """Compare the bore's diameter (of the circle of equal area) with the truth, slice by slice.

    Only the inside of the wall shows: there is no activity outside it.

    Returns
    -------
    DataFrame
        tube, duration_s, bias_mm, deviation_mm (over slices), num_slices.
    """
    rows = []
    for number in range(NUM_TUBES):
        name = f"tube_{number:04d}"
        phantom = tube_phantom(ranges, name, {"defect": "none"}, bench.engine.seed)
        truth = phantom.activity
        z_mm = truth.grid.axes_mm()[0]
        area_mm2 = (truth.array / CONCENTRATION).sum(axis=(1, 2)) * np.prod(truth.grid.voxel_mm[1:])
        for duration_s in DURATIONS_S[:2]:
            image = measure(bench, f"{name} {duration_s}", phantom, duration_s)
            differences = []
            for k, place in enumerate(image.grid.axes_mm()[0]):
                if abs(place) > np.abs(z_mm[area_mm2 > 0]).max() - 3:
                    continue  # the ends blur along the tube
                true_mm = 2 * np.sqrt(np.interp(place, z_mm, area_mm2) / np.pi)
                section = image.array[k].astype(np.float64)
                found_mm = nema.equivalent_diameter_mm(section, image.grid.voxel_mm[2])
                differences.append(found_mm - true_mm)
            mean, spread = float(np.mean(differences)), float(np.std(differences, ddof=1))
            rows.append((name, duration_s, mean, spread, len(differences)))
    columns = ["tube", "duration_s", "bias_mm", "deviation_mm", "num_slices"]
    return pd.DataFrame(rows, columns=columns)


def measure_pits(bench: Bench, ranges: dict[str, Any]) -> pd.DataFrame:
    """Measure contrast-to-noise of pits at a known place in the wall of a round tube.

    The signal is the mean over a ball at the pit, less that of the tube without pit, in long
    acquisitions. The ball has the pit's diameter, at least `PIT_REGION_MM`. The noise is the
    standard deviation of such means over repeated acquisitions without pit, pooled over `NUM_TURNS`
    equal places around the tube. At 10 s it is that of 2 s over the square root of five.

    Returns
    -------
    DataFrame
        duration_s, pit_mm, contrast_to_noise.
    """
    fixed = {
        "family": "round", "bore_radius_mm": 8.0, "wall_mm": 5.0, "length_mm": 24.0,
        "orientation_deg": 0.0,
    }  # fmt: skip
    plain = tube_phantom(ranges, "tube_0000", {**fixed, "defect": "none"}, bench.engine.seed)
    noisy = {
        duration_s: [
            measure(bench, f"pits {duration_s} {n}", plain, duration_s) for n in range(num)
        ]
        for duration_s, num in Bar(NUM_NOISE.items(), desc="noise")
    }
    rows = []
    for pit_mm in PITS_MM:
        pit = {**fixed, "defect": "pit", "defect_size_mm": pit_mm, "defect_z_mm": 0.0,
               "defect_deg": 0.0}  # fmt: skip
        phantom = tube_phantom(ranges, "tube_0000", pit, bench.engine.seed)
        extra = _centre_of_extra(phantom.activity, plain.activity)
        found = measure(bench, f"pits {pit_mm}", phantom, PIT_SIGNAL_S)
        radius_mm = max(pit_mm, PIT_REGION_MM) / 2
        regions = [_ball(found.grid, place, radius_mm) for place in _turned(extra)]
        signal = float(found.array[regions[0]].mean() - _means(noisy[PIT_SIGNAL_S], regions).mean())
        noise = {
            duration_s: float(
                np.sqrt(np.var(_means(images, regions), axis=0, ddof=1).mean())  # (image, region)
            )
            for duration_s, images in noisy.items()
        }
        noise[DURATIONS_S[2]] = noise.pop(PIT_SIGNAL_S) * np.sqrt(PIT_SIGNAL_S / DURATIONS_S[2])
        rows += [(duration_s, pit_mm, signal / noise[duration_s]) for duration_s in DURATIONS_S]
    return pd.DataFrame(rows, columns=["duration_s", "pit_mm", "contrast_to_noise"])


def _turned(place_mm: Array) -> list[Array]:
    """Return a place (mm) and its images by equal turns about the axis, `NUM_TURNS` in all."""
    radius_mm, start = np.hypot(*place_mm[:2]), np.arctan2(place_mm[1], place_mm[0])
    turns = start + 2 * np.pi * np.arange(NUM_TURNS) / NUM_TURNS
    return [np.array([radius_mm * np.cos(t), radius_mm * np.sin(t), place_mm[2]]) for t in turns]


def _ball(grid: Grid, place_mm: Array, radius_mm: float) -> NDArray[np.bool_]:
    z, y, x = np.meshgrid(*grid.axes_mm(), indexing="ij")
    away = np.sqrt((x - place_mm[0]) ** 2 + (y - place_mm[1]) ** 2 + (z - place_mm[2]) ** 2)
    return np.asarray(away <= radius_mm)


def _means(images: list[Volume], regions: list[NDArray[np.bool_]]) -> Array:
    return np.array([[image.array[region].mean() for region in regions] for image in images])


def _centre_of_extra(with_pit: Volume, without: Volume) -> Array:
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


def prove(bench: Bench, ranges: dict[str, Any]) -> dict[str, Any]:
    """Make all measurements. Return plain data, and as ``image`` the quality phantom's `Volume`.

    `ranges` is the config section `phantom`.
    """
    points, kernels = measure_points(bench)
    log.info("points\n%s\n%s", points.to_string(index=False), kernels.to_string(index=False))
    quality, image = measure_quality(bench)
    log.info("quality %s", quality)
    bores = measure_bores(bench, ranges)
    log.info("bores\n%s", bores.to_string(index=False))
    pits = measure_pits(bench, ranges)
    log.info("pits\n%s", pits.to_string(index=False))
    return {
        "points": points.to_dict("records"),
        "kernels": kernels.to_dict("records"),
        "quality": quality,
        "bores": bores.to_dict("records"),
        "pits": pits.to_dict("records"),
        "smallest_pit_mm": smallest_pits_mm(pits),
        "image": image,
    }


def draw(found: dict[str, Any]) -> Figure:
    """Draw widths, the quality phantom, recovery and the pits."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
    points, pits = pd.DataFrame(found["points"]), pd.DataFrame(found["pits"])
    for colour, (axis, rows) in zip(("C0", "C1", "C2"), points.groupby("axis"), strict=True):
        by_place = [row.sort_values("contrast") for _, row in rows.groupby("distance_mm")]
        for i, (line, what) in enumerate(((":", "faint"), ("--", "equal"), ("-", "bright"))):
            widths = [row["fwhm_mm"].iloc[i] for row in by_place]
            axes[0, 0].plot(POINT_PLACES_MM, widths, line, c=colour, label=f"{axis}, {what}")
    axes[0, 0].set(xlabel="distance from the axis / mm", ylabel="FWHM / mm", title="point")
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=6)
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
