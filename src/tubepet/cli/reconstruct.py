"""`tubepet reconstruct`: reconstruction alone, from files of other programs."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import yaml
from numpy.typing import NDArray

from tubepet import io
from tubepet.cli.ranges import Number
from tubepet.errors import InputError
from tubepet.formats import castor, content, dicom_pet, gate, petsird, tables
from tubepet.formats.placing import nearest
from tubepet.logs import log
from tubepet.reconstruct import frames, image
from tubepet.reconstruct.acquisition import any_scanner, model_acquisition
from tubepet.reconstruct.calibration import efficiency_of
from tubepet.reconstruct.problem import Efficiency, Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur, sensitivity
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.scanner import checks, coverage, crystals, fingerprint
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.types import Grid, Listmode, Scanner, Volume

SENSITIVITY_STRIDE = 16  # as the workflow's default
SEED = 2020
DEFAULT_SHAPE = (32, 64, 64)
MOST_CHECKED = 40_000  # ends of lines that are compared with the crystals
SETTINGS = (
    "num_iterations", "num_subsets", "algorithm", "prior_strength", "stopping", "filter_fwhm_mm",
    "tof", "backend",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What the command was asked for; a field that is no option is made of some.

    Attributes
    ----------
    frames_s : list of (float, float)
        Start and stop of each frame, s; empty: all of the acquisition is one image.
    """

    events_path: Path
    scanner_path: Path | None
    mu_path: Path | None
    calibration: Path | None
    randoms: str
    num_pairs: int
    output: Path
    force: bool
    duration_s: float
    half_life_s: float
    frames_s: list[frames.Interval]
    grid: Grid
    is_shape_given: bool
    settings: Settings

    @property
    def is_nifti(self) -> bool:
        """Whether the output is one file, not a folder of DICOM."""
        return self.output.name.endswith(".nii.gz")

    @property
    def sidecar(self) -> Path:
        """Where the settings go."""
        return self.output.with_name(self.output.name.removesuffix(".nii.gz") + ".json")


def request(options: dict[str, Any]) -> Request:
    """Put the options of the command line together."""
    rest = dict(options)
    settings = Settings(
        psf=blur.gaussian(rest.pop("psf_mm")), sensitivity_stride=SENSITIVITY_STRIDE,
        **{key: rest.pop(key) for key in SETTINGS},
    )  # fmt: skip
    shape = rest.pop("shape")
    grid = Grid.centred(shape or DEFAULT_SHAPE, rest.pop("voxel_mm"))
    start_s, stop_s, frame_s = (rest.pop(key) for key in ("start_s", "stop_s", "frame_s"))
    frames_s = []
    if not (start_s is None and stop_s is None and frame_s is None):
        start_s, stop_s = start_s or 0.0, stop_s or rest["duration_s"]
        frame_s = frame_s or stop_s - start_s
        frames_s = frames.intervals(start_s, stop_s, frame_s, rest["duration_s"])
        if rest["half_life_s"] == 0:
            log.info("frames are not corrected for decay (--half-life-s)")
    return Request(
        settings=settings, grid=grid, is_shape_given=shape is not None, frames_s=frames_s, **rest
    )


def read_scanner(path: Path) -> Scanner | Crystals:
    """Read a config (YAML with a section `scanner`) or a crystal table (text, Parquet)."""
    if tables.is_crystals(path):
        return tables.read_crystals(path)
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        scanner = Scanner(**config.get("scanner", config))
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
    return io.read_volume(path, is_ours=False)


def read_events(path: Path, ring: Crystals) -> Listmode:
    """Read coincidences between crystals: GATE's ROOT files or CASToR's headers.

    For PETSIRD see `petsird.read_petsird`.
    """
    if content.kind_of(path) == "castor":
        return castor.read_castor(path, len(ring))
    return gate.read_gate(path, ring)


def _config_images(asked: Request, measured: Measurement, scanner: Scanner) -> list[Volume]:
    efficiency: Efficiency = crystals.of_scanner(scanner)
    if scanner.is_even_ring:
        efficiency = np.ones((scanner.num_columns // 2 + 1, scanner.num_rings))
    if asked.calibration is not None:
        calibration = io.read_json(asked.calibration)
        fingerprint.check_calibration(str(asked.calibration), calibration, scanner)
        efficiency = efficiency_of(calibration, scanner)
    plain = sensitivity.geometric_sensitivity(scanner, asked.grid, efficiency).astype(np.float32)
    instrument = Instrument(scanner, efficiency, Volume(plain, asked.grid))
    if not asked.frames_s:
        model = model_acquisition(measured, instrument, asked.settings)
        return [image.reconstruct(model, asked.settings, SEED)[0]]
    return image.reconstruct_frames(
        measured, instrument, asked.settings, asked.frames_s, asked.half_life_s, SEED
    )


def _table_images(
    asked: Request, lines: Lines, time_s: NDArray[np.float64], ring: Crystals, mu: Volume
) -> list[Volume]:
    some = io.evenly(np.arange(len(lines.points)), MOST_CHECKED)
    nearest(asked.events_path, lines.points[some], ring, are_ends=True)
    checks.check_ends(asked.events_path, lines.points, asked.grid)
    checks.check_attenuation("--mu", mu, lines.points, asked.grid)
    checks.check_meets("--mu", mu, lines, None)
    seen = Volume(sensitivity.of_pairs(ring, asked.grid, mu, asked.num_pairs, SEED), asked.grid)

    def image_of(part: Lines, duration_s: float) -> Volume:
        model = any_scanner(asked.events_path, part, seen, duration_s)
        return image.reconstruct(model, asked.settings, SEED)[0]

    if not asked.frames_s:
        return [image_of(lines, asked.duration_s)]
    images = []
    for interval in asked.frames_s:
        is_inside = frames.is_within(time_s, len(lines), asked.duration_s, interval)
        part = lines.part(np.flatnonzero(is_inside))
        found = image_of(part, interval[1] - interval[0])
        images.append(frames.corrected(found, interval, asked.half_life_s))
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
    type=Number(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Length of the acquisition, s.",
)
@click.option(
    "--frame-s",
    type=Number(min=0, min_open=True),
    help="Make an image of every so many seconds: a 4D NIfTI file, times in NAME.json.",
)
@click.option(
    "--start-s",
    type=Number(min=0),
    help="First second used. Default: 0.",
)
@click.option(
    "--stop-s",
    type=Number(min=0, min_open=True),
    help="Last second used. Default: --duration-s.",
)
@click.option(
    "--half-life-s",
    type=Number(min=0),
    default=0.0,
    show_default=True,
    help="With one of the last three options: corrects activity for decay to the start of the "
    f"acquisition (F-18: {frames.F18_HALF_LIFE_S:g}). 0: no decay, as in most simulations.",
)
@click.option(
    "--voxel-mm",
    type=Number(min=0, min_open=True),
    nargs=3,
    default=(1.0, 0.5, 0.5),
    show_default=True,
    help="Voxel size, z y x.",
)
@click.option(
    "--shape",
    type=click.IntRange(min=1),
    nargs=3,
    help="Number of voxels, z y x; the middle is the scanner's. Default: 32 64 64, and more where "
    "the events need it.",
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
    type=Number(min=0),
    default=0.1,
    show_default=True,
    help="Weight of the prior.",
)
@click.option(
    "--stopping",
    type=click.Choice(["fixed", "held_out", "converged"]),
    default="fixed",
    show_default=True,
    help="held_out: stop when events that were held out are explained best; converged: when the "
    "image is within 1 % of the converged one (map_rdp). At most --iterations.",
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
    "num_iterations",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Passes over all events.",
)
@click.option(
    "--subsets",
    "num_subsets",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="More than 1: OSEM, faster and less exact.",
)
@click.option(
    "--psf-mm",
    type=Number(min=0),
    default=2.1,
    show_default=True,
    help="Resolution (FWHM) in the model; 0: none.",
)
@click.option(
    "--filter-mm",
    "filter_fwhm_mm",
    type=Number(min=0),
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
def reconstruct(**options: Any) -> None:
    """Make an image from coincidences.

    EVENTS is a ROOT file of GATE 9 or 10 (tree Coincidences), a CASToR header (.cdh), a PETSIRD
    file (.petsird), or a table (CSV, Parquet) of line end points x1_mm, y1_mm, z1_mm, x2_mm, y2_mm,
    z2_mm; the last one needs a crystal table as scanner. With a config as scanner, scatter and
    randoms are fitted (in a ring of equal crystals; else see --randoms); with a crystal table they
    stay in the image.
    """
    asked = request(options)
    _check(asked)
    scanner, images = _images(asked)
    _write(asked, scanner, images)


def _check(asked: Request) -> None:
    """Refuse options that do not go together."""
    if not asked.is_nifti and asked.output.suffix:
        raise InputError(
            f"--output: got {asked.output}, expected NAME.nii.gz or a folder without a dot"
        )
    for path in (asked.output, asked.sidecar):
        if path.exists() and not (asked.force and asked.is_nifti):
            raise InputError(f"{path}: exists already, expected a new name or --force")
    if not asked.is_nifti and asked.calibration is None:
        raise InputError("--output: got a folder, for DICOM in Bq/ml, expected --calibration too")
    if not asked.is_nifti and asked.frames_s:
        raise InputError("--output: got a folder (DICOM) with frames, expected NAME.nii.gz")
    if asked.randoms == "delayed" and (
        asked.mu_path is None
        or asked.calibration is None
        or content.kind_of(asked.events_path) != "root"
    ):
        raise InputError("--randoms: got delayed, expected --mu, --calibration and a ROOT file too")
    if asked.settings.tof and asked.randoms != "delayed":
        raise InputError("--tof: expected --randoms delayed too, a background with times")
    checks.check_memory(asked.grid)


def _covering(
    asked: Request, starts_mm: NDArray[np.float64], ends_mm: NDArray[np.float64]
) -> Request:
    """Enlarge the default image to where the events are; of a given one, say what it leaves out."""
    extents = coverage.extents_mm(starts_mm, ends_mm)
    grid = asked.grid
    if not asked.is_shape_given:
        grid = coverage.covering(grid, extents, np.concatenate([starts_mm, ends_mm]))
        if grid != asked.grid:
            log.info("the image is enlarged to where the events are: --shape %d %d %d", *grid.shape)
            checks.check_memory(grid)
    coverage.say_uncovered(grid, extents)
    return replace(asked, grid=grid)


def _check_any(path: Path, num_events: int) -> None:
    if num_events == 0:
        raise InputError(f"{path}: got no coincidences, expected at least one")


def _images(asked: Request) -> tuple[Scanner | Crystals, list[Volume]]:
    """Read the files and make one image, or one of every frame."""
    path = asked.events_path
    kind = content.kind_of(path)
    is_petsird, is_table = kind == "petsird", kind == "table"
    scanner: Scanner | Crystals
    if is_petsird and asked.scanner_path is None:
        scanner, prompts, _ = petsird.read_petsird(path)
    elif asked.scanner_path is None or is_petsird:
        raise InputError("--scanner: expected one, but for PETSIRD files, which bring their own")
    else:
        scanner = read_scanner(asked.scanner_path)
    ring = crystals.of_scanner(scanner) if isinstance(scanner, Scanner) else scanner
    if isinstance(scanner, Scanner) and not is_table:
        events, delayed = read_events(path, ring), None
        _check_any(path, len(events))
        if asked.randoms == "delayed":
            delayed = gate.read_gate(path, ring, is_delayed=True)
        frames.check_times(path, events.time_s, asked.duration_s)
        asked = _covering(
            asked, *(ring.points_mm[ids] for ids in (events.crystal1, events.crystal2))
        )
        mu = read_mu(asked.mu_path, asked.grid)
        measured = Measurement(events, mu, asked.duration_s, delayed)
        return scanner, _config_images(asked, measured, scanner)
    if asked.calibration is not None:
        raise InputError("--calibration: expected a config scanner with coincidences")
    if is_table:
        pairs_mm, time_s = tables.read_lines(path)
        points, first = pairs_mm.reshape(-1, 3), np.arange(0, 2 * len(pairs_mm), 2, dtype=np.int32)
        second = first + np.int32(1)
    else:
        events = prompts if is_petsird else read_events(path, ring)
        points, first, second = ring.points_mm, events.crystal1, events.crystal2
        time_s = events.time_s
    _check_any(path, len(first))
    frames.check_times(path, time_s, asked.duration_s)
    checks.check_coordinates(path, points)
    asked = _covering(asked, points[first], points[second])
    mu = read_mu(asked.mu_path, asked.grid)
    lines = asked.settings.kind_of_lines(asked.grid, points, first, second, np.zeros(len(first)))
    return scanner, _table_images(asked, lines, time_s, ring, mu)


def _write(asked: Request, scanner: Scanner | Crystals, images: list[Volume]) -> None:
    """Write the images, and how they were made beside them."""
    unit = "Bq/mm3" if asked.calibration is not None else "counts-scaled"
    if asked.calibration is None:
        log.warning("no calibration: unit %s, Bq/mm3 only if efficiencies are absolute", unit)
    grid = images[0].grid
    facts = {
        "events": asked.events_path.name, "scanner": fingerprint.scanner_hash(scanner),
        "unit": unit, "mu": asked.mu_path.name if asked.mu_path else None, "shape": grid.shape,
        "voxel_mm": grid.voxel_mm, "origin_mm": grid.origin_mm, "pairs": asked.num_pairs,
        "randoms": asked.randoms, "duration_s": asked.duration_s, "seed": SEED,
        **vars(asked.settings),
    }  # fmt: skip
    if asked.frames_s:
        factors = [frames.decay_factor(f, asked.half_life_s) for f in asked.frames_s]
        facts |= {
            "frames_s": asked.frames_s, "half_life_s": asked.half_life_s, "decay_factors": factors,
        }  # fmt: skip
    images = [Volume(found.array, grid, unit) for found in images]
    if len(images) > 1:
        first_s = asked.frames_s[0]
        io.write_frames(asked.output, images, first_s[0], first_s[1] - first_s[0])
    elif asked.is_nifti:
        io.write_volume(asked.output, images[0])
    else:
        component = dicom_pet.Component(asked.events_path.stem)
        dicom_pet.write_series(asked.output, images[0], component, facts)
    io.write_json(asked.sidecar, facts)
