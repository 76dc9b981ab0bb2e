"""`tubepet inspect`: a verdict on one part, from its events and its drawing."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pandas as pd

from tubepet import io
from tubepet.bounds import read_yaml
from tubepet.cli.ranges import Number
from tubepet.cli.reconstruct import read_scanner
from tubepet.errors import InputError
from tubepet.formats import facts as said
from tubepet.formats.measured import read_measured
from tubepet.logs import log
from tubepet.reconstruct import frames
from tubepet.reconstruct.problem import Measurement
from tubepet.types import Scanner

if TYPE_CHECKING:
    from tubepet.inspect.part import Part
    from tubepet.inspect.setup import Calibrated, Search
    from tubepet.inspect.verdict import Inspection

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
FOUND, UNDECIDED = 1, 3  # exit status with --fail-on-defect
COLUMNS = (
    "kind", "x_mm", "y_mm", "z_mm", "size_mm", "size_low_mm", "size_high_mm", "z", "p_value",
)  # fmt: skip
SEARCH_OPTIONS = (
    click.option(
        "--part",
        "part_path",
        type=EXISTING,
        required=True,
        help="Drawing of the part: YAML or JSON with the numbers of a tube, a run's truth.json, "
        "or YAML of an own part (docs/parts.md).",
    ),
    click.option(
        "--scanner",
        "scanner_path",
        type=EXISTING,
        required=True,
        help="config.yaml (section scanner).",
    ),
    click.option(
        "--calibration",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder with calibration.json, sensitivity.nii.gz and resolution.json of this "
        "scanner: results/reconstruct of a run.",
    ),
    click.option(
        "--false-call-rate",
        type=Number(min=1e-6, max=0.5),
        default=0.01,
        show_default=True,
        help="Share of clean parts that may be called.",
    ),
    click.option(
        "--defects",
        help="Sizes to look for, mm: pit:2-4,bubble:3-6. Default: phantom.defect_size_mm of "
        "--scanner, or the workflow's.",
    ),
)


def search_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options on part, scanner, calibration, false-call rate and defects."""
    for option in reversed(SEARCH_OPTIONS):
        command = option(command)
    return command


def read_search(
    part_path: Path, scanner_path: Path, calibration: Path | None, false_call_rate: float,
    defects: str | None,
) -> "tuple[Part, Calibrated, Search]":  # fmt: skip
    """Read the files that the options of `search_options` name."""
    from tubepet.inspect import part_file, setup

    scanner = read_scanner(scanner_path)
    if not isinstance(scanner, Scanner):
        raise InputError(
            f"--scanner: got the crystal table {scanner_path}, expected a config with the section "
            "scanner, which a calibration belongs to"
        )
    calibrated = setup.read_calibrated(calibration, scanner)
    part = part_file.read_part(part_path)
    setup.check_inside(part_path, part, calibrated.instrument.grid)
    ranges_mm = setup.ranges_of(defects) if defects else _ranges_of_config(scanner_path)
    return part, calibrated, setup.Search(ranges_mm, false_call_rate)


def _ranges_of_config(path: Path) -> dict[str, list[float]]:
    from tubepet.inspect import setup

    phantom = read_yaml(path).get("phantom")
    if not isinstance(phantom, dict) or "defect_size_mm" not in phantom:
        return setup.RANGES_MM
    return setup.checked_ranges(f"{path}: phantom.defect_size_mm", phantom["defect_size_mm"])


@click.command(
    epilog="Exit codes with --fail-on-defect: 0 no defect found, 1 defect, 3 cannot tell or does "
    "not fit; verdict.json tells these from a fault (1) or an unreadable file (3)."
)
@click.argument("events_path", metavar="EVENTS", type=EXISTING)
@search_options
@click.option(
    "--duration-s",
    "--duration",
    type=Number(min=0, min_open=True),
    help="Length of the acquisition, s. Default: as the file says (CASToR, PETSIRD), else 1.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="New folder for verdict.json, indications.csv, map.nii.gz, map.png and dicom/.",
)
@click.option("--fail-on-defect", is_flag=True, help="Tell the verdict by the exit code too.")
def inspect(
    events_path: Path, duration_s: float | None, output: Path, fail_on_defect: bool, **options: Any
) -> None:
    """Say whether a part has a defect, where, of what kind, how large, how sure.

    EVENTS is a ROOT file of GATE 9 or 10, a CASToR header (.cdh), a PETSIRD file (.petsird), or a
    table (CSV, Parquet) of line end points; all of the scanner of --scanner. Randoms come from the
    file's delayed pairs and scatter is simulated; without delayed pairs both are fitted beside the
    part.
    """
    from tubepet.inspect import verdict

    if output.exists():
        raise InputError(f"--output: got {output}, which exists already, expected a new folder")
    part, calibrated, search = read_search(**options)
    scanner = calibrated.instrument.scanner
    events, delayed, facts = read_measured(events_path, scanner)
    duration_s = said.duration_s(events_path, facts, duration_s)
    frames.check_times(events_path, events.time_s, duration_s)
    if delayed is None and not scanner.is_even_ring:
        raise InputError(
            f"{events_path}: got no delayed pairs, expected some: in a scanner that is no ring of "
            "equal crystals scatter and randoms cannot be fitted, and would look like defects"
        )
    if scanner.has_electronics:
        log.warning("what dead time cost is not in EVENTS: the activity comes out too low")
    measured = Measurement(events, part.mu, duration_s, delayed)
    found = calibrated.inspect(measured, part, search)
    # the same events give the same DICOM
    made = datetime.fromtimestamp(events_path.stat().st_mtime)
    asked = {"events": events_path.name, "duration_s": duration_s, **options}
    _write(output, found, part, asked, made)
    click.echo(f"{found.verdict}: {found.reason}")
    if fail_on_defect:
        sys.exit({verdict.CLEAN: 0, verdict.DEFECT: FOUND}.get(found.verdict, UNDECIDED))


def _write(
    output: Path, found: "Inspection", part: "Part", asked: dict[str, Any], made: datetime
) -> None:
    """Write all results into a temporary folder, then rename it."""
    from tubepet.formats import dicom_study
    from tubepet.inspect import figures, verdict

    name = asked["part_path"].stem
    score_map = verdict.score_map(found)
    asked = {key: value.name if isinstance(value, Path) else value for key, value in asked.items()}
    rows = [asdict(one) for one in found.indications]
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=output.parent) as scratch:
        folder = Path(scratch) / output.name
        io.write_json(folder / "verdict.json", found.as_json() | {"asked": asked})
        io.write_table(folder / "indications.csv", pd.DataFrame(rows, columns=list(COLUMNS)))
        io.write_volume(folder / "map.nii.gz", score_map)
        io.write_figure(folder / "map.png", figures.draw_verdict(found, score_map, part, name))
        dicom_study.write_study(
            folder / "dicom", found, part, score_map, folder / "map.png", asked, made
        )
        folder.rename(output)
