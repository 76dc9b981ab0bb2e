"""`tubepet reconstruct`: make an image from coincidences in a file, without the workflow."""

from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource
from numpy.typing import NDArray

from tubepet import bounds, io
from tubepet.cli import settings as chosen
from tubepet.cli.ranges import Number
from tubepet.errors import InputError
from tubepet.formats import castor, castor_scanner, content, dicom_pet, gate, petsird, tables
from tubepet.formats import facts as said
from tubepet.formats.facts import Facts
from tubepet.formats.placing import nearest
from tubepet.logs import log
from tubepet.reconstruct import frames, image
from tubepet.reconstruct.acquisition import any_scanner, model_acquisition
from tubepet.reconstruct.background import detection
from tubepet.reconstruct.calibration import efficiency_of
from tubepet.reconstruct.problem import Efficiency, Instrument, Measurement, Settings
from tubepet.reconstruct.projection import blur, sensitivity
from tubepet.reconstruct.projection.lines import Lines
from tubepet.reconstruct.read import read_kernel
from tubepet.reconstruct.scanner import checks, coverage, crystals, fingerprint
from tubepet.reconstruct.scanner.crystals import Crystals
from tubepet.types import Grid, Listmode, Scanner, Volume

MOST_CHECKED = 40_000  # most ends of lines that are compared with the crystals
SETTINGS = (
    "num_iterations", "num_subsets", "algorithm", "prior_strength", "stopping", "filter_fwhm_mm",
    "tof", "backend",
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """The options of the command. Fields that are no options follow from some.

    Attributes
    ----------
    duration_s : float or None
        None if not given; then `timing` takes it from the file.
    is_shape_given : bool
        Whether the shape is an option. If not, the image may be enlarged to hold all events.
    """

    events_path: Path
    scanner_path: Path | None
    mu_path: Path | None
    calibration: Path | None
    resolution: Path | None
    randoms: str | None
    background: str
    num_pairs: int
    output: Path
    force: bool
    duration_s: float | None
    half_life_s: float
    start_s: float | None
    stop_s: float | None
    frame_s: float | None
    seed: int
    grid: Grid
    is_shape_given: bool
    settings: Settings

    @property
    def is_nifti(self) -> bool:
        """Whether the output is one file, not a folder of DICOM."""
        return self.output.name.endswith(".nii.gz")

    @property
    def sidecar(self) -> Path:
        """The JSON file for the settings."""
        return self.output.with_name(self.output.name.removesuffix(".nii.gz") + ".json")

    @property
    def is_calibrated(self) -> bool:
        """Whether attenuation map and calibration are given, for Bq/mm3 and modelled background."""
        return self.mu_path is not None and self.calibration is not None

    @property
    def has_frames(self) -> bool:
        """Whether images of one or several parts of the acquisition are asked for."""
        return not (self.start_s is None and self.stop_s is None and self.frame_s is None)


@dataclass(frozen=True)
class Timing:
    """Duration and frames of an acquisition, from options and its file.

    Attributes
    ----------
    is_known : bool
        Whether options or file give the duration.
    frames_s : list of (float, float)
        Start and stop of each frame, s. Empty if the whole acquisition makes one image.
    """

    duration_s: float
    is_known: bool
    half_life_s: float
    frames_s: list[frames.Interval]


@dataclass(frozen=True)
class Made:
    """Images, and facts of their acquisition."""

    times: Timing
    facts: Facts
    scanner: Scanner | Crystals
    randoms: str
    images: list[Volume]


def timing(asked: Request, facts: Facts) -> Timing:
    """Return duration, half-life and frames; errors as `frames.intervals`."""
    name = asked.events_path
    duration_s = said.duration_s(name, facts, asked.duration_s)
    is_known = (asked.duration_s or facts.duration_s) is not None
    if not asked.has_frames:
        return Timing(duration_s, is_known, 0.0, [])
    said.compare_half_life(name, facts, asked.half_life_s)
    start_s, stop_s = asked.start_s or 0.0, asked.stop_s or duration_s
    frame_s = asked.frame_s or stop_s - start_s
    frames_s = frames.intervals(start_s, stop_s, frame_s, duration_s)
    return Timing(duration_s, is_known, asked.half_life_s, frames_s)


def request(options: dict[str, Any], is_shape_given: bool) -> Request:
    """Return the request of options, and of config keys that have no option."""
    rest = dict(options)
    config = chosen.of_config(rest["scanner_path"])
    settings = Settings(
        psf=_kernel(rest.pop("psf_mm"), rest["resolution"], rest["scanner_path"], config),
        sensitivity_stride=config["sensitivity_stride"],
        **{key: rest.pop(key) for key in SETTINGS},
    )
    grid = Grid.centred(rest.pop("shape"), rest.pop("voxel_mm"))
    more = {"seed": config["seed"], "background": config["background"]}
    return Request(settings=settings, grid=grid, is_shape_given=is_shape_given, **more, **rest)


def _kernel(
    psf_mm: float | None, resolution: Path | None, scanner_path: Path | None, config: dict[str, Any]
) -> blur.Kernel:
    """Return the resolution model: the option's, a fitted one, or the config's Gaussian."""
    if psf_mm is not None and resolution is not None:
        raise InputError("--psf-mm: got --resolution too, expected one of both")
    if resolution is not None:
        return read_kernel(resolution)
    if psf_mm is not None:
        return blur.gaussian(psf_mm)
    fwhm_mm = config["psf_fwhm_mm"]
    if scanner_path is not None and chosen.is_config(scanner_path):
        if config["psf"] != "gaussian":
            log.warning(
                "reconstruct.psf: %s needs --resolution: a Gaussian of %g mm is used",
                config["psf"], fwhm_mm,
            )  # fmt: skip
    return blur.gaussian(fwhm_mm)


def read_scanner(path: Path) -> Scanner | Crystals:
    """Read a config (YAML with a section `scanner`), a crystal table or a scanner of CASToR."""
    if castor_scanner.is_scanner(path):
        return castor_scanner.read_scanner(path)
    if tables.is_crystals(path):
        return tables.read_crystals(path)
    config = bounds.read_yaml(path)
    section = config.get("scanner", config) if isinstance(config, dict) else config
    _check_keys(path, section)
    scanner = Scanner(**section)
    checks.check_scanner(path, scanner)
    return scanner


def _check_keys(path: Path, section: Any) -> None:
    """Refuse a section `scanner` that is no mapping, lacks keys, or has unknown ones."""
    if not isinstance(section, dict):
        raise InputError(f"{path}: expected a section scanner, got {section!r:.40}")
    keys = {field.name: field.default is MISSING for field in fields(Scanner)}
    missing = [key for key, is_needed in keys.items() if is_needed and key not in section]
    if unknown := [str(key) for key in section if key not in keys]:
        raise InputError(
            f"{path}: expected a section scanner with the keys {', '.join(keys)}, got "
            f"{', '.join(unknown):.200} (config/config.yaml has a whole one)"
        )
    if missing:
        raise InputError(f"{path}: scanner: expected also {', '.join(missing)}")


def read_mu(path: Path | None, grid: Grid) -> Volume:
    """Read an attenuation map; without one, return a map that has the object everywhere."""
    if path is None:
        # 0 would mean that there is no object; 1e-9 per mm attenuates nothing
        return Volume(np.full(grid.shape, 1e-9, np.float32), grid)
    return io.read_volume(path, is_ours=False)


def read_events(path: Path, ring: Crystals) -> Listmode:
    """Read coincidences between crystals: GATE's ROOT files or CASToR's headers.

    For PETSIRD see `petsird.read_petsird`.
    """
    if content.kind_of(path) == "castor":
        return castor.read_castor(path, len(ring))
    return gate.read_gate(path, ring)


def _config_images(
    asked: Request, times: Timing, measured: Measurement, scanner: Scanner
) -> list[Volume]:
    efficiency: Efficiency = crystals.of_scanner(scanner)
    seen_kev = None
    if scanner.is_even_ring:
        efficiency = np.ones((scanner.num_columns // 2 + 1, scanner.num_rings))
    if asked.resolution is not None:
        read_kernel(asked.resolution, scanner)  # refuses that of another scanner
    if asked.calibration is not None:
        calibration = io.read_json(asked.calibration)
        fingerprint.check_calibration(str(asked.calibration), calibration, scanner)
        efficiency = efficiency_of(calibration, scanner)
        seen_kev = detection.of_calibration(asked.calibration, calibration)
    plain = sensitivity.geometric_sensitivity(scanner, asked.grid, efficiency).astype(np.float32)
    instrument = Instrument(scanner, efficiency, Volume(plain, asked.grid), seen_kev)
    if not times.frames_s:
        model = model_acquisition(measured, instrument, asked.settings)
        return [image.reconstruct(model, asked.settings, asked.seed)[0]]
    return image.reconstruct_frames(
        measured, instrument, asked.settings, times.frames_s, times.half_life_s, asked.seed
    )


def _table_images(
    asked: Request, times: Timing, lines: Lines, time_s: NDArray[np.float64], ring: Crystals,
    mu: Volume,
) -> list[Volume]:  # fmt: skip
    checks.check_ends(asked.events_path, lines.points, asked.grid)
    checks.check_attenuation("--mu", mu, lines.points, asked.grid)
    checks.check_meets("--mu", mu, lines, None)
    counts = sensitivity.of_pairs(ring, asked.grid, mu, asked.num_pairs, asked.seed)
    seen = Volume(counts, asked.grid)

    def image_of(part: Lines, duration_s: float) -> Volume:
        model = any_scanner(asked.events_path, part, seen, duration_s)
        return image.reconstruct(model, asked.settings, asked.seed)[0]

    if not times.frames_s:
        return [image_of(lines, times.duration_s)]
    images = []
    for interval in times.frames_s:
        is_inside = frames.is_within(time_s, len(lines), times.duration_s, interval)
        part = lines.part(np.flatnonzero(is_inside))
        found = image_of(part, interval[1] - interval[0])
        images.append(frames.corrected(found, interval, times.half_life_s))
    return images


EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("events_path", metavar="EVENTS", type=EXISTING)
@click.option(
    "--scanner",
    "scanner_path",
    type=EXISTING,
    is_eager=True,
    callback=chosen.take_from_config,
    help="config.yaml (section scanner; its section reconstruct gives the defaults of the options "
    "here), a table of crystals (CSV, Parquet), or CASToR's .lut, .hscan, .geom. PETSIRD files "
    "bring their own.",
)
@click.option(
    "--mu",
    "mu_path",
    type=EXISTING,
    help="Attenuation at 511 keV, 1/mm, NIfTI on any grid. Default: none; the image is too low "
    "then, and not in Bq/mm3.",
)
@click.option(
    "--calibration",
    type=EXISTING,
    help="calibration.json of the workflow: makes Bq/mm3 absolute (config scanners; with --mu).",
)
@click.option(
    "--resolution",
    type=EXISTING,
    help="resolution.json of the workflow: the fitted resolution, in place of --psf-mm.",
)
@click.option(
    "--duration-s",
    type=Number(min=0, min_open=True),
    help="Length of the acquisition, s. Default: as the file says (CASToR, PETSIRD), else 1.",
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
    f"acquisition (F-18: {said.HALF_LIVES_S['F18']:g}). 0: no decay, as in most simulations.",
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
    default=(32, 64, 64),
    show_default=True,
    help="Number of voxels, z y x; the middle is the scanner's. Where it is not given, more where "
    "the events need it.",
)
@click.option(
    "--randoms",
    type=click.Choice(["fitted", "delayed"]),
    help="fitted: scatter and randoms from the lines beside the object; delayed: randoms from "
    "the tree Delayed, scatter simulated (needs --mu, --calibration and a ROOT file). Default: as "
    "reconstruct.background of the config says, where the files allow it.",
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
    "--tof/--no-tof",
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
    default=16,
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
    type=Number(min=0, max=1000),
    help="Resolution (FWHM) in the model; 0: none. Default: the config's, else 2.1.",
)
@click.option(
    "--filter-mm",
    "filter_fwhm_mm",
    type=Number(min=0, max=1000),
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
@click.pass_context
def reconstruct(ctx: click.Context, /, **options: Any) -> None:
    """Make an image from coincidences.

    EVENTS is a ROOT file of GATE 9 or 10 (tree Coincidences), a CASToR header (.cdh), a PETSIRD
    file (.petsird), or a table (CSV, Parquet) of line end points x1_mm, y1_mm, z1_mm, x2_mm, y2_mm,
    z2_mm; the last one needs a crystal table as scanner. With a config as scanner, scatter and
    randoms are modelled or fitted (in a ring of equal crystals; else see --randoms); with a crystal
    table they stay in the image.
    """
    asked = request(options, ctx.get_parameter_source("shape") is ParameterSource.COMMANDLINE)
    _check(asked)
    _write(asked, _images(asked))


def _check(asked: Request) -> None:
    """Refuse options that do not go together."""
    if not asked.is_nifti and not dicom_pet.is_folder(asked.output):
        raise InputError(f"--output: got {asked.output}, expected NAME.nii.gz or a new folder")
    given = (
        asked.events_path, asked.scanner_path, asked.mu_path, asked.calibration, asked.resolution,
    )  # fmt: skip
    for path in (asked.output, asked.sidecar):
        if path.exists() and any(one and path.samefile(one) for one in given):
            raise InputError(f"{path}: would be overwritten and is read, expected another --output")
        if path.exists() and not (asked.force and asked.is_nifti):
            raise InputError(f"{path}: exists already, expected a new name or --force")
    if not asked.is_nifti and not asked.is_calibrated:
        raise InputError(
            "--output: got a folder, for DICOM in Bq/ml, expected --calibration and --mu too"
        )
    if asked.half_life_s > 0 and not asked.has_frames:
        raise InputError(
            f"--half-life-s: got {asked.half_life_s:g} s, expected --start-s, --stop-s or "
            "--frame-s too: without them nothing is corrected for decay"
        )
    if not asked.is_nifti and asked.has_frames:
        raise InputError("--output: got a folder (DICOM) with frames, expected NAME.nii.gz")
    if asked.randoms == "delayed" and not (
        asked.is_calibrated and content.kind_of(asked.events_path) == "root"
    ):
        raise InputError("--randoms: got delayed, expected --mu, --calibration and a ROOT file too")
    if asked.settings.tof and (asked.randoms == "fitted" or not asked.is_calibrated):
        raise InputError("--tof: expected --randoms delayed too, a background with times")
    checks.check_memory(asked.grid)


def _covering(
    asked: Request, starts_mm: NDArray[np.float64], ends_mm: NDArray[np.float64]
) -> Request:
    """Enlarge the default image to hold all events; warn if a given shape leaves some out."""
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


def _is_delayed(asked: Request) -> bool:
    """Return whether delayed pairs are used: by the option, else by the config, if files allow."""
    if asked.randoms is not None or asked.background != "modelled":
        return asked.randoms == "delayed"
    is_possible = (
        asked.is_calibrated
        and content.kind_of(asked.events_path) == "root"
        and gate.has_delayed(asked.events_path)
    )
    if not is_possible:
        if asked.settings.tof:
            raise InputError("--tof: expected --randoms delayed too, a background with times")
        log.warning(
            "reconstruct.background: modelled needs --mu, --calibration and delayed pairs (tree "
            "Delayed): scatter and randoms are fitted"
        )
    return is_possible


def _images(asked: Request) -> Made:
    """Read the files and make one image, or one of every frame."""
    path = asked.events_path
    kind = content.kind_of(path)
    is_petsird, is_table = kind == "petsird", kind == "table"
    scanner: Scanner | Crystals
    facts = Facts()
    if is_petsird and asked.scanner_path is None:
        scanner, prompts, _, facts = petsird.read_petsird(path)
    elif asked.scanner_path is None or is_petsird:
        raise InputError("--scanner: expected one, but for PETSIRD files, which bring their own")
    else:
        scanner = read_scanner(asked.scanner_path)
    if kind == "castor":
        facts = castor.read_facts(path)
    times = timing(asked, facts)
    if asked.calibration is not None and (is_table or not isinstance(scanner, Scanner)):
        raise InputError("--calibration: expected a config scanner with coincidences")
    if not asked.is_nifti and (missing := _missing(asked, times, scanner)):
        raise InputError(f"--output: got a folder, for DICOM in Bq/ml, without {missing[0]}")
    ring = crystals.of_scanner(scanner) if isinstance(scanner, Scanner) else scanner
    if isinstance(scanner, Scanner) and not is_table:
        return _of_config(asked, times, facts, scanner)
    if is_table:
        pairs_mm, time_s = tables.read_lines(path)
        some = io.evenly(np.arange(len(pairs_mm)), MOST_CHECKED // 2)
        nearest(path, pairs_mm[some].reshape(-1, 3), ring, are_ends=True)
        points, first = pairs_mm.reshape(-1, 3), np.arange(0, 2 * len(pairs_mm), 2, dtype=np.int32)
        second = first + np.int32(1)
    else:
        ring = replace(ring, most_axial_mm=min(ring.most_axial_mm, facts.most_axial_mm))
        events = _possible(prompts if is_petsird else read_events(path, ring), ring)
        points, first, second = ring.points_mm, events.crystal1, events.crystal2
        time_s = events.time_s
    _check_any(path, len(first))
    frames.check_times(path, time_s, times.duration_s)
    asked = _covering(asked, points[first], points[second])
    mu = read_mu(asked.mu_path, asked.grid)
    lines = asked.settings.kind_of_lines(asked.grid, points, first, second, np.zeros(len(first)))
    found = _table_images(asked, times, lines, time_s, ring, mu)
    return Made(times, facts, scanner, "none", found)


def _of_config(asked: Request, times: Timing, facts: Facts, scanner: Scanner) -> Made:
    """Read coincidences of a config scanner, and delayed pairs if they are used; make images."""
    path, ring = asked.events_path, crystals.of_scanner(scanner)
    events = read_events(path, ring)
    _check_any(path, len(events))
    frames.check_times(path, events.time_s, times.duration_s)
    said.check_pairs(path, facts, ring.points_mm[:, 2])
    delayed = gate.read_gate(path, ring, is_delayed=True) if _is_delayed(asked) else None
    asked = _covering(asked, *(ring.points_mm[ids] for ids in (events.crystal1, events.crystal2)))
    measured = Measurement(events, read_mu(asked.mu_path, asked.grid), times.duration_s, delayed)
    randoms = "fitted" if delayed is None else "delayed"
    return Made(times, facts, scanner, randoms, _config_images(asked, times, measured, scanner))


def _possible(events: Listmode, ring: Crystals) -> Listmode:
    """Leave out pairs of crystals that cannot be in coincidence, as the sensitivity does."""
    is_pair = crystals.is_coincidence(ring, events.crystal1, events.crystal2)
    if is_pair.all():
        return events
    log.warning("%d events of crystals that are in no coincidence left out", (~is_pair).sum())
    return events.at(is_pair)


def _missing(asked: Request, times: Timing, scanner: Scanner | Crystals) -> list[str]:
    """Return the reasons why a calibrated image cannot be in Bq/mm3."""
    is_live = not (isinstance(scanner, Scanner) and scanner.has_electronics)
    needed = {
        "--mu: attenuation is not corrected, activity is too low": asked.mu_path is not None,
        "--duration-s: the length of the acquisition is not known": times.is_known,
        "what dead time cost, which EVENTS does not say: activity is too low": is_live,
    }
    return [reason for reason, is_there in needed.items() if not is_there]


def _unit(asked: Request, made: Made) -> str:
    """Return the unit of the image; log why it is not Bq/mm3."""
    if asked.calibration is None:
        log.warning("no calibration: unit counts-scaled, Bq/mm3 only if efficiencies are absolute")
        return "counts-scaled"
    missing = _missing(asked, made.times, made.scanner)
    for reason in missing:
        log.warning("unit counts-scaled, not Bq/mm3, without %s", reason)
    return "counts-scaled" if missing else "Bq/mm3"


def _factor(asked: Request, facts: Facts) -> float:
    """Return the calibration factor of the file; 1 with --calibration, which replaces it."""
    factor = facts.calibration_factor
    if factor == 1:
        return 1.0
    is_used = asked.calibration is None
    log.warning(
        "%s: its calibration factor %g is %s", asked.events_path, factor,
        "used" if is_used else "left out, --calibration is used",
    )  # fmt: skip
    return factor if is_used else 1.0


def _write(asked: Request, made: Made) -> None:
    """Write the images, and their settings as JSON beside them."""
    times, facts, scanner = made.times, made.facts, made.scanner
    factor, unit = _factor(asked, facts), _unit(asked, made)
    grid = made.images[0].grid
    words = {
        "events": asked.events_path.name, "scanner": fingerprint.scanner_hash(scanner),
        "unit": unit, "mu": asked.mu_path.name if asked.mu_path else None, "shape": grid.shape,
        "voxel_mm": grid.voxel_mm, "origin_mm": grid.origin_mm, "pairs": asked.num_pairs,
        "randoms": made.randoms, "duration_s": times.duration_s, "seed": asked.seed,
        "isotope": facts.isotope, "calibration_factor": factor, "bed_mm": facts.bed_mm,
        **vars(asked.settings),
    }  # fmt: skip
    if times.frames_s:
        factors = [frames.decay_factor(f, times.half_life_s) for f in times.frames_s]
        words |= {
            "frames_s": times.frames_s, "half_life_s": times.half_life_s, "decay_factors": factors,
        }  # fmt: skip
    images = [Volume(np.float32(factor) * found.array, grid, unit) for found in made.images]
    if len(images) > 1:
        first_s = times.frames_s[0]
        io.write_frames(asked.output, images, first_s[0], first_s[1] - first_s[0])
    elif asked.is_nifti:
        io.write_volume(asked.output, images[0])
    else:
        component = dicom_pet.Component(asked.events_path.stem)
        dicom_pet.write_series(asked.output, images[0], component, words)
    io.write_json(asked.sidecar, words)
