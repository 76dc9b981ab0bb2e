"""Read what an inspection outside a run needs: a calibrated scanner and the defects to look for."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet import io
from tubepet.errors import InputError
from tubepet.inspect.part import Part
from tubepet.inspect.shapes import KIND_OF_CLASS
from tubepet.inspect.verdict import Inspection, inspect
from tubepet.reconstruct.problem import Instrument, Measurement
from tubepet.reconstruct.projection import blur
from tubepet.reconstruct.projection.line_blur import NUM_CLASSES
from tubepet.reconstruct.projection.response import Response
from tubepet.reconstruct.read import read_instrument
from tubepet.reconstruct.scanner import fingerprint
from tubepet.types import Grid, Scanner

SEED = 2020
SENSITIVITY_STRIDE = 16  # as the workflow's default
# As the config's default; a test compares.
RANGES_MM = {
    "pit": [3.0, 7.5], "groove": [1.2, 3.4], "crack": [0.9, 2.6], "thinning": [4.5, 12.0],
    "inclusion": [2.8, 6.5], "bubble": [2.8, 7.0],
}  # fmt: skip
MOST_MM = 50.0  # of a defect
FILES = {
    "calibration": "calibration.json", "sensitivity": "sensitivity.nii.gz",
    "resolution": "resolution.json",
}  # fmt: skip
HOW = (
    "`snakemake --cores 2 results/reconstruct/sensitivity.nii.gz results/reconstruct/"
    "resolution.json --configfile SCANNER.yaml` makes it, in results/reconstruct"
)
RANGE = re.compile(r"(\w+):(\d*\.?\d+)-(\d*\.?\d+)")
MARGIN_MM = 2.0  # of image around the fluid: blur that is cut off looks like a defect


@dataclass(frozen=True)
class Search:
    """The defects to look for.

    Attributes
    ----------
    ranges_mm : mapping
        Smallest and largest size by class of defect.
    false_call_rate : float
        Share of clean parts that may be called.
    """

    ranges_mm: Mapping[str, list[float]]
    false_call_rate: float


@dataclass(frozen=True)
class Calibrated:
    """A scanner with the calibration that a run leaves: it can inspect."""

    instrument: Instrument
    response: Response

    def inspect(self, measured: Measurement, part: Part, search: Search) -> Inspection:
        """Look for defects in one part; see `verdict.inspect`."""
        return inspect(
            measured, part, dict(search.ranges_mm), self.instrument, self.response,
            search.false_call_rate, SEED,
        )  # fmt: skip


def read_calibrated(folder: Path | None, scanner: Scanner) -> Calibrated:
    """Read the calibration that a run leaves in `results/reconstruct`.

    Parameters
    ----------
    folder : Path or None
        Folder with `FILES`.

    Raises
    ------
    InputError
        If there is none, or a file is missing, damaged or of another scanner.
    """
    if folder is None:
        raise InputError(
            "--calibration: got none, expected the folder with the calibration, sensitivity and "
            f"resolution of this scanner ({HOW})"
        )
    paths = {key: str(folder / name) for key, name in FILES.items()}
    for path in paths.values():
        if not Path(path).is_file():
            raise InputError(f"{path}: missing, expected the calibration of a run ({HOW})")
    fingerprint.check_calibration(paths["calibration"], io.read_json(paths["calibration"]), scanner)
    instrument = read_instrument(paths, scanner)
    return Calibrated(instrument, read_response(paths["resolution"], scanner, SENSITIVITY_STRIDE))


def read_response(path: str, scanner: Scanner, sensitivity_stride: int) -> Response:
    """Read the kernels by class of slopes of a ``resolution.json``.

    Raises
    ------
    InputError
        If it is of another scanner, or holds none.
    """
    content = io.read_json(path)
    got = content.get("scanner") if isinstance(content, dict) else None
    fingerprint.check_scanner(path, "resolution", got, scanner)
    rows = content.get("by_slope")
    values = _numbers(rows)
    is_shaped = values.ndim == 3 and len(values) == NUM_CLASSES and values.shape[2] == 3
    if not is_shaped or not (np.isfinite(values) & (values >= 0)).all():
        raise InputError(
            f"{path}: by_slope: got {rows!r:.60}, expected for each of {NUM_CLASSES} slopes rows "
            "of a share and two widths, mm (of an older version: calibrate again)"
        )
    stretch = content.get("stretch")
    if not isinstance(stretch, float) or not 0.5 < stretch < 2:
        raise InputError(f"{path}: stretch: got {stretch!r:.40}, expected a number near 1")
    psfs = [blur.from_rows(one) for one in values.tolist()]
    factors = _line_factors(path, content, scanner)
    return Response(psfs, stretch, sensitivity_stride, factors)


def _line_factors(
    path: str, content: dict[str, Any], scanner: Scanner
) -> NDArray[np.float64] | None:
    """Read the factors of the lines of a ring; other scanners have none."""
    if not scanner.is_even_ring:
        return None
    rows, shape = content.get("line_factors"), (NUM_CLASSES, scanner.num_columns // 2 + 1)
    factors = _numbers(rows)
    if factors.shape != shape or not ((factors > 0.5) & (factors < 2)).all():
        raise InputError(
            f"{path}: line_factors: got {rows!r:.60}, expected {shape[0]} rows of {shape[1]} "
            "numbers near 1 (of an older version: calibrate again)"
        )
    return factors


def _numbers(rows: Any) -> NDArray[np.float64]:
    """Return a table of numbers as an array, and what is none as an empty one."""
    try:
        return np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        return np.empty(0)


def check_inside(name: object, part: Part, grid: Grid) -> None:
    """Refuse a part whose blurred fluid does not fit into the image of a calibration.

    Parameters
    ----------
    name : object
        Name of the file, for the message.
    """
    for axis, used in enumerate(np.nonzero(part.fluid.array > 0)):
        low_mm, high_mm = (
            grid.origin_mm[axis] + grid.voxel_mm[axis] * end + sign * MARGIN_MM
            for end, sign in ((-0.5, 1), (grid.shape[axis] - 0.5, -1))
        )
        places_mm = part.fluid.grid.axes_mm()[axis][used]
        if len(used) == 0 or places_mm.min() < low_mm or places_mm.max() > high_mm:
            ends_mm = (places_mm.min(), places_mm.max()) if len(used) else (0.0, 0.0)
            raise InputError(
                f"{name}: got fluid from {ends_mm[0]:.1f} to {ends_mm[1]:.1f} mm in "
                f"{'zyx'[axis]}, expected some, within {low_mm:.1f} to {high_mm:.1f} mm: "
                f"{MARGIN_MM:g} mm inside the image of the calibration (larger: "
                "reconstruct.num_slices, num_pixels)"
            )


def ranges_of(text: str) -> dict[str, list[float]]:
    """Read ranges of sizes from a text like ``pit:2-4,bubble:3-6``, mm.

    Raises
    ------
    InputError
        If a class is unknown or a range is none.
    """
    found: dict[str, Any] = {}
    for one in text.split(","):
        match = RANGE.fullmatch(one.strip().removesuffix("mm"))
        if match is None:
            raise InputError(
                f"--defects: got {one.strip()!r:.60}, expected CLASS:LOW-HIGH in mm, for instance "
                "pit:2-4"
            )
        found[match[1]] = [float(size) for size in match.groups()[1:]]
    return checked_ranges("--defects", found)


def checked_ranges(name: str, ranges_mm: Any) -> dict[str, list[float]]:
    """Check ranges of sizes by class of defect, mm, and return them; `name` is their source."""
    if not isinstance(ranges_mm, dict) or not ranges_mm:
        raise InputError(f"{name}: got {ranges_mm!r:.60}, expected sizes by class of defect, mm")
    for key, sizes_mm in ranges_mm.items():
        if key not in KIND_OF_CLASS:
            raise InputError(
                f"{name}: got {key!r:.40}, expected classes of {', '.join(KIND_OF_CLASS)}"
            )
        is_range = isinstance(sizes_mm, list) and len(sizes_mm) == 2
        if not is_range or not 0 < check_size(name, sizes_mm[0]) <= check_size(name, sizes_mm[1]):
            raise InputError(
                f"{name}: {key}: got {sizes_mm!r:.60}, expected the smaller size first, mm"
            )
    return {key: [float(size) for size in sizes] for key, sizes in ranges_mm.items()}


def check_size(name: str, size_mm: Any) -> float:
    """Check the size of a defect, mm, and return it; `name` is its source."""
    is_number = isinstance(size_mm, int | float) and not isinstance(size_mm, bool)
    if not is_number or not 0 < size_mm <= MOST_MM:
        raise InputError(
            f"{name}: got a size of {size_mm!r:.40} mm, expected more than 0, at most {MOST_MM:g}"
        )
    return float(size_mm)
