"""`tubepet reconstruct`: reconstruction alone, from files of other programs."""

from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import yaml
from numpy.typing import NDArray

from tubepet import io
from tubepet.errors import InputError
from tubepet.formats import castor, dicom_pet, gate, petsird, tables
from tubepet.logs import log
from tubepet.reconstruct import acquisition, frames, generic
from tubepet.reconstruct.calibration import pair_efficiency
from tubepet.reconstruct.projection import blur, sensitivity
from tubepet.reconstruct.scanner import checks, crystals, fingerprint
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.types import Grid, Listmode, Scanner, Volume

Ends = tuple[NDArray[np.float64], NDArray[np.integer], NDArray[np.integer]]
SENSITIVITY_STRIDE = 16  # as the workflow's default
SEED = 2020


class Timing(NamedTuple):
    """Duration and frames of an acquisition, s; no frames: all of it is one image."""

    duration_s: float
    frames_s: list[frames.Interval]
    half_life_s: float


def read_scanner(path: Path) -> Scanner | Crystals:
    """Read a config (YAML with a section `scanner`) or a crystal table (CSV, Parquet)."""
    if path.suffix not in (".yaml", ".yml"):
        return tables.read_crystals(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        scanner = Scanner(**content.get("scanner", content))
    except (yaml.YAMLError, ValueError, AttributeError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected a section scanner, got: {reason}") from error
    checks.check_scanner(path, scanner)
    return scanner


def read_mu(path: Path | None, grid: Grid) -> Volume:
    """Read an attenuation map; without one, say that the object may be anywhere in the image."""
    if path is None:
        # not 0, which would mean that there is no object: 1e-9 per mm attenuates nothing
        return Volume(np.full(grid.shape, 1e-9, np.float32), grid)
    return io.read_volume(path)


def read_events(path: Path, ring: Crystals) -> Listmode:
    """Read coincidences between crystals: GATE's ROOT files or CASToR's headers.

    For PETSIRD see `petsird.read_petsird`.
    """
    if path.suffix.lower() == ".cdh":
        return castor.read_castor(path, len(ring))
    return gate.read_gate(path, ring.points_mm)


def _cylinder_images(
    events: Listmode, scanner: Scanner, grid: Grid, mu: Volume, calibration: Path | None,
    delayed: Listmode | None, timing: Timing, settings: dict[str, Any],
) -> list[Volume]:  # fmt: skip
    efficiency = np.ones((scanner.num_columns // 2 + 1, scanner.num_rings))
    if calibration is not None:
        content = io.read_json(calibration)
        fingerprint.check_calibration(str(calibration), content, scanner)
        efficiency = pair_efficiency(content)
    plain = sensitivity.geometric_sensitivity(scanner, grid, efficiency).astype(np.float32)
    model = (events, scanner, efficiency, Volume(plain, grid), mu, timing.duration_s)
    settings = {**settings, "sensitivity_stride": SENSITIVITY_STRIDE, "delayed": delayed}
    if not timing.frames_s:
        return [acquisition.reconstruct(*model, **settings)[0]]
    return frames.reconstruct(*model, timing.frames_s, timing.half_life_s, **settings)


def _table_images(
    path: Path, ends: Ends, time_s: NDArray[np.float64], ring: Crystals, grid: Grid, mu: Volume,
    num_pairs: int, timing: Timing, settings: dict[str, Any],
) -> list[Volume]:  # fmt: skip
    settings = {key: value for key, value in settings.items() if key != "tof"}
    checks.check_ends(path, ends[0], grid)
    checks.check_attenuation("--mu", mu, ends[0], grid)
    seen = Volume(sensitivity.of_pairs(ring, grid, mu, num_pairs, SEED), grid)
    points_mm, first, second = ends
    if not timing.frames_s:
        return [generic.reconstruct(path, *ends, seen, timing.duration_s, **settings)[0]]
    images = []
    for interval in timing.frames_s:
        rows = frames.is_within(time_s, len(first), timing.duration_s, interval)
        part = (points_mm, first[rows], second[rows])
        image, _ = generic.reconstruct(path, *part, seen, interval[1] - interval[0], **settings)
        images.append(frames.corrected(image, interval, timing.half_life_s))
    return images


EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("events_path", metavar="EVENTS", type=EXISTING)
@click.option(
    "--scanner",
    "scanner_path",
    type=EXISTING,
    help="config.yaml (section scanner), or a table of crystals (CSV, Parquet). PETSIRD files "
    "bring their own.",
)
@click.option(
    "--mu",
    "mu_path",
    type=EXISTING,
    help="Attenuation at 511 keV, 1/mm, NIfTI on any grid. Default: none.",
)
@click.option(
    "--calibration",
    type=EXISTING,
    help="calibration.json of the workflow: makes Bq/mm3 absolute (config scanners).",
)
@click.option(
    "--duration-s",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Length of the acquisition, s.",
)
@click.option(
    "--frame-s",
    type=click.FloatRange(min=0, min_open=True),
    help="Make an image of every so many seconds: a 4D NIfTI file, times in NAME.json.",
)
@click.option(
    "--start-s",
    type=click.FloatRange(min=0),
    help="First second used. Default: 0.",
)
@click.option(
    "--stop-s",
    type=click.FloatRange(min=0, min_open=True),
    help="Last second used. Default: --duration-s.",
)
@click.option(
    "--half-life-s",
    type=click.FloatRange(min=0),
    default=frames.F18_HALF_LIFE_S,
    show_default=True,
    help="With one of the last three options, activity is corrected for decay to the start of "
    "the acquisition. Default: F-18; 0: no decay (most simulations).",
)
@click.option(
    "--voxel-mm",
    type=click.FloatRange(min=0, min_open=True),
    nargs=3,
    default=(1.0, 0.5, 0.5),
    show_default=True,
    help="Voxel size, z y x.",
)
@click.option(
    "--shape",
    type=click.IntRange(min=1),
    nargs=3,
    default=(32, 64, 64),
    show_default=True,
    help="Number of voxels, z y x; the middle is the scanner's.",
)
@click.option(
    "--randoms",
    type=click.Choice(["fitted", "delayed"]),
    default="fitted",
    show_default=True,
    help="fitted: scatter and randoms from the lines beside the object; delayed: randoms from "
    "the tree Delayed, scatter simulated (needs --mu, --calibration and a ROOT file).",
)
@click.option(
    "--algorithm",
    type=click.Choice(["mlem", "map_rdp", "tv"]),
    default="mlem",
    show_default=True,
    help="Plain, or with a prior: relative differences, total variation.",
)
@click.option(
    "--prior-strength",
    type=click.FloatRange(min=0),
    default=0.1,
    show_default=True,
    help="Weight of the prior.",
)
@click.option(
    "--stopping",
    type=click.Choice(["fixed", "held_out"]),
    default="fixed",
    show_default=True,
    help="held_out: stop when events that were held out are explained best.",
)
@click.option(
    "--tof",
    is_flag=True,
    help="Use time differences, with the config's time resolution (needs --randoms delayed).",
)
@click.option(
    "--backend",
    type=click.Choice(["numba", "parallelproj"]),
    default="numba",
    show_default=True,
    help="Projector of the iterations; the library parallelproj must be there.",
)
@click.option(
    "--iterations",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Passes over all events.",
)
@click.option(
    "--subsets",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="More than 1: OSEM, faster and less exact.",
)
@click.option(
    "--psf-mm",
    type=click.FloatRange(min=0),
    default=2.1,
    show_default=True,
    help="Resolution (FWHM) in the model; 0: none.",
)
@click.option(
    "--filter-mm",
    type=click.FloatRange(min=0),
    default=1.5,
    show_default=True,
    help="Gaussian (FWHM) over the finished image; 0: none.",
)
@click.option(
    "--pairs",
    "num_pairs",
    type=click.IntRange(min=1),
    default=2_000_000,
    show_default=True,
    help="Crystal pairs drawn for the sensitivity (crystal tables).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Image to write: NAME.nii.gz, or a new folder for a DICOM PET series (with "
    "--calibration); the settings go beside it as NAME.json.",
)
@click.option("--force", is_flag=True, help="Replace an existing NIfTI image.")  # fmt: skip
def reconstruct(
    events_path: Path, scanner_path: Path | None, mu_path: Path | None, calibration: Path | None,
    duration_s: float, voxel_mm: tuple[float, float, float], shape: tuple[int, int, int],
    iterations: int, subsets: int, psf_mm: float, filter_mm: float, num_pairs: int, output: Path,
    force: bool, randoms: str, algorithm: str, prior_strength: float, stopping: str,
    tof: bool, backend: str, frame_s: float | None, start_s: float | None, stop_s: float | None,
    half_life_s: float,
) -> None:  # fmt: skip
    """Make an image from coincidences.

    EVENTS is a ROOT file of GATE 9 or 10 (tree Coincidences), a CASToR header (.cdh), a PETSIRD
    file (.petsird), or a table (CSV, Parquet) of line end points x1_mm, y1_mm, z1_mm, x2_mm, y2_mm,
    z2_mm; the last one needs a crystal table as scanner. With a config as scanner, scatter and
    randoms are fitted; with a crystal table they stay in the image.
    """
    timing = Timing(duration_s, _frames(duration_s, frame_s, start_s, stop_s), half_life_s)
    _run(
        events_path, scanner_path, mu_path, calibration, Grid.centred(shape, voxel_mm),
        num_pairs, output, force, randoms, timing,
        {
            "algorithm": algorithm, "prior_strength": prior_strength, "stopping": stopping,
            "seed": SEED, "tof": tof, "backend": backend,
            "num_iterations": iterations, "num_subsets": subsets,
            "psf": blur.gaussian(psf_mm), "filter_fwhm_mm": filter_mm,
        },
    )  # fmt: skip


def _frames(
    duration_s: float, frame_s: float | None, start_s: float | None, stop_s: float | None
) -> list[frames.Interval]:
    if frame_s is None and start_s is None and stop_s is None:
        return []
    start_s, stop_s = start_s or 0.0, stop_s or duration_s
    return frames.intervals(start_s, stop_s, frame_s or stop_s - start_s, duration_s)


def _check_any(path: Path, num_events: int) -> None:
    if num_events == 0:
        raise InputError(f"{path}: got no coincidences, expected at least one")


def _run(
    events_path: Path, scanner_path: Path | None, mu_path: Path | None, calibration: Path | None,
    grid: Grid, num_pairs: int, output: Path, force: bool, randoms: str, timing: Timing,
    settings: dict[str, Any],
) -> None:  # fmt: skip
    is_nifti = output.name.endswith(".nii.gz")
    if not is_nifti and output.suffix:
        raise InputError(f"--output: got {output}, expected NAME.nii.gz or a folder without a dot")
    sidecar = output.with_name(output.name.removesuffix(".nii.gz") + ".json")
    for path in (output, sidecar):
        if path.exists() and not (force and is_nifti):
            raise InputError(f"{path}: exists already, expected a new name or --force")
    if not is_nifti and calibration is None:
        raise InputError("--output: got a folder, for DICOM in Bq/ml, expected --calibration too")
    if not is_nifti and timing.frames_s:
        raise InputError("--output: got a folder (DICOM) with frames, expected NAME.nii.gz")
    is_modelled = randoms == "delayed"
    if is_modelled and (mu_path is None or calibration is None or events_path.suffix != ".root"):
        raise InputError("--randoms: got delayed, expected --mu, --calibration and a ROOT file too")
    if settings["tof"] and not is_modelled:
        raise InputError("--tof: expected --randoms delayed too, a background with times")
    checks.check_memory(grid)
    mu, is_petsird = read_mu(mu_path, grid), events_path.suffix == ".petsird"
    scanner: Scanner | Crystals
    if is_petsird and scanner_path is None:
        scanner, prompts, _ = petsird.read_petsird(events_path)
    elif scanner_path is None or is_petsird:
        raise InputError("--scanner: expected one, but for PETSIRD files, which bring their own")
    else:
        scanner = read_scanner(scanner_path)
    is_table = events_path.suffix in (".csv", ".parquet")
    if isinstance(scanner, Scanner) and not is_table:
        ring = crystals.cylinder(scanner)
        events = read_events(events_path, ring)
        _check_any(events_path, len(events))
        delayed = gate.read_gate(events_path, ring.points_mm, "Delayed") if is_modelled else None
        images = _cylinder_images(
            events, scanner, grid, mu, calibration, delayed, timing, settings
        )  # fmt: skip
    else:
        if calibration is not None:
            raise InputError("--calibration: expected a config scanner with coincidences")
        ring = crystals.cylinder(scanner) if isinstance(scanner, Scanner) else scanner
        if is_table:
            pairs_mm, time_s = tables.read_lines(events_path)
            points, first = pairs_mm.reshape(-1, 3), np.arange(0, 2 * len(pairs_mm), 2)
            ends: Ends = (points, first, first + 1)
        else:
            events = prompts if is_petsird else read_events(events_path, ring)
            ends, time_s = (ring.points_mm, events.crystal1, events.crystal2), events.time_s
        _check_any(events_path, len(ends[1]))
        images = _table_images(
            events_path, ends, time_s, ring, grid, mu, num_pairs, timing, settings
        )  # fmt: skip
    unit = "Bq/mm3" if calibration is not None else "counts-scaled"
    if calibration is None:
        log.warning("no calibration: unit %s, Bq/mm3 only if efficiencies are absolute", unit)
    facts = {
        "events": events_path.name, "scanner": fingerprint.scanner_hash(scanner), "unit": unit,
        "mu": mu_path.name if mu_path else None, "shape": grid.shape, "voxel_mm": grid.voxel_mm,
        "origin_mm": grid.origin_mm, "pairs": num_pairs, "randoms": randoms,
        "duration_s": timing.duration_s, **settings,
    }  # fmt: skip
    if timing.frames_s:
        factors = [frames.decay_factor(f, timing.half_life_s) for f in timing.frames_s]
        facts |= {
            "frames_s": timing.frames_s, "half_life_s": timing.half_life_s,
            "decay_factors": factors,
        }  # fmt: skip
    images = [Volume(image.array, grid, unit) for image in images]
    if len(images) > 1:
        first_s = timing.frames_s[0]
        io.write_frames(output, images, first_s[0], first_s[1] - first_s[0])
    elif is_nifti:
        io.write_volume(output, images[0])
    else:
        dicom_pet.write_series(output, images[0], dicom_pet.Component(events_path.stem), facts)
    io.write_json(sidecar, facts)
