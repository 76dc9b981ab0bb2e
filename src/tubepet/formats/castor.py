"""CASToR's PET list-mode files: a text header (.cdh) and a binary of events (.cdf).

An event is packed, little-endian. It holds the time (uint32, ms), then the fields that the header's
flags announce: attenuation, kind, scatter, random, normalisation and TOF (kind: uint8, the others
float32), then both crystal ids (uint32). Sources of order, keys and spellings: CASToR general
documentation and its classes vDataFile and iDataFilePET (version 3.1). TOF is t1 - t2 in ps, as
castor-GATERootToCastor writes it. Event times count on the same clock as the start time, or from
the start.

Simplified: one line per event, no gates, no points of interaction or emission. Headers that
announce these are refused. Scanner files of CASToR: `castor_scanner`.
"""

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubepet import io
from tubepet.bounds import MAX_MM, check_memory, is_file, read_text
from tubepet.errors import InputError
from tubepet.formats.facts import Facts
from tubepet.logs import log
from tubepet.types import Listmode

NS_PER_PS = 1e-3
MS_PER_S = 1e3
CLOCK_S = 1e-3  # times are whole ms
MAX_DIGITS = 18
TINY, MAX_S = 1e-9, 1e8  # three years
BYTES_IN_MEMORY = 64  # of an event: as read and as it is handed on
# header flag, field of the event, type
OPTIONAL = (
    ("Attenuation correction flag", "attenuation", "<f4"),
    ("Coincidence kind flag", "kind", "u1"),
    ("Scatter correction flag", "scatter_hz", "<f4"),
    ("Random correction flag", "random_hz", "<f4"),
    ("Normalization correction flag", "normalisation", "<f4"),
    ("TOF information flag", "tof_ps", "<f4"),
)
NEEDED = ("Scanner name", "Data filename", "Number of events", "Data mode", "Data type")
DURATION, START = "Duration (s)", "Start time (s)"
ISOTOPE, FACTOR = "Isotope", "Calibration factor"
BED = "Horizontal bed relative position (mm)"
# keys of features that would change the lines or the activity, and their values without the feature
UNUSED = {
    "Gate duration (s)": (), "POI correction flag": ("0",), "Emission point flag": ("0",),
    "Per event TOF resolution flag": ("0",), "Maximum number of lines per event": ("1",),
}  # fmt: skip
# known keys that are not used: those of histograms, and numbers of the time of flight
IDLE = (
    "TOF resolution (ps)", "List TOF measurement range (ps)", "List TOF quantization bin size (ps)",
    "Histo TOF number of bins", "Histo TOF bin size (ps)",
)  # fmt: skip
MAX_AXIAL, POI = "Maximum axial difference mm", "POI capability"
KNOWN = {
    key.lower(): key
    for key in (
        *NEEDED, *(flag for flag, _, _ in OPTIONAL), DURATION, START, ISOTOPE, FACTOR, BED,
        *UNUSED, *IDLE, MAX_AXIAL, POI,
    )
}  # fmt: skip
LIST_MODES, PET = ("list", "listmode", "list-mode", "0"), ("pet", "0")
NO_ISOTOPE = ("", "unknown")


def fields(path: str | Path) -> dict[str, str]:
    """Read the lines ``key: value`` of a CASToR text, keys as written; `#` begins a comment.

    Raises
    ------
    InputError
        If the file is no small text, a line has no colon, or a key has two values.
    """
    found: dict[str, str] = {}
    for line in read_text(path).splitlines():
        if not (line := line.partition("#")[0].strip()):
            continue
        key, colon, value = line.partition(":")
        key, value = re.sub(r"\s+", " ", key.strip()), value.strip()
        if not colon:
            raise InputError(f"{path}: got the line {line[:80]!r}, expected key: value")
        if found.get(key, value) != value:
            raise InputError(f"{path}: {key[:60]!r}: got two values, expected one")
        found[key] = value
    return found


def read_header(path: str | Path) -> dict[str, str]:
    """Read a .cdh; keys become those of CASToR's documentation, whatever their case in the file.

    Raises
    ------
    InputError
        As `fields`, if a key is missing or its value is none, or if the data are not PET list-mode
        with one line per event.
    """
    header: dict[str, str] = {}
    for key, value in fields(path).items():
        name = KNOWN.get(key.lower(), key)
        if header.setdefault(name, value) != value:
            raise InputError(f"{path}: {name}: got two values, expected one")
    if missing := [key for key in NEEDED if not header.get(key)]:
        raise InputError(f"{path}: expected the keys {', '.join(missing)} of a CASToR header")
    allowed = {
        "Data mode": LIST_MODES, "Data type": PET,
        **UNUSED, **{flag: ("0", "1") for flag, _, _ in OPTIONAL},
    }  # fmt: skip
    for key, values in allowed.items():
        if key in header and header[key].lower() not in values:
            expected = " or ".join(values) or "no such line: gates are not read"
            raise InputError(f"{path}: {key}: got {header[key]!r:.60}, expected {expected}")
    if any(number >= 0 for number in _numbers(path, header, POI)):
        raise InputError(f"{path}: {POI}: got {header[POI]!r:.60}, expected negative numbers: none")
    number = header["Number of events"]
    if not (number.isascii() and number.isdecimal()) or len(number) > MAX_DIGITS:
        raise InputError(f"{path}: Number of events: got {number!r:.40}, expected a number")
    return header


def read_facts(path: str | Path) -> Facts:
    """Read what a .cdh says of its acquisition; warn of keys that CASToR does not have.

    Raises
    ------
    InputError
        As `read_header`, and if a number is missing or impossible.
    """
    header = read_header(path)
    if unknown := header.keys() - KNOWN.values():
        log.warning("%s: no keys of CASToR's, left out: %.200r", path, ", ".join(sorted(unknown)))
    isotope = header.get(ISOTOPE, "")
    most_axial_mm = _number(path, header, MAX_AXIAL, -1.0)
    return Facts(
        _duration_s(path, header),
        "" if isotope.lower() in NO_ISOTOPE else isotope,
        _number(path, header, FACTOR, 1.0, TINY),
        _number(path, header, BED, 0.0),
        most_axial_mm if most_axial_mm >= 0 else math.inf,  # as CASToR: negative is none
    )


def _duration_s(path: str | Path, header: dict[str, str]) -> float | None:
    return _number(path, header, DURATION, 0.0, TINY, MAX_S) if DURATION in header else None


def _number(
    path: str | Path, header: dict[str, str], key: str, default: float, low: float = -MAX_MM,
    high: float = MAX_MM,
) -> float:  # fmt: skip
    """Return a header's number within bounds, or the default."""
    if key not in header:
        return default
    numbers = _numbers(path, header, key)
    if len(numbers) != 1 or not low <= numbers[0] <= high:
        raise InputError(
            f"{path}: {key}: got {header[key]!r:.40}, expected a number from {low:g} to {high:g}"
        )
    return numbers[0]


def _numbers(path: str | Path, header: dict[str, str], key: str) -> list[float]:
    """Return the finite numbers of a key, split at commas; none if the key is missing."""
    if key not in header:
        return []
    try:
        numbers = [float(part) for part in header[key].split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(math.isfinite(number) for number in numbers):
        raise InputError(f"{path}: {key}: got {header[key]!r:.60}, expected numbers")
    return numbers


def event_type(header: dict[str, str]) -> np.dtype:
    """Return the packed type of an event."""
    optional = [(name, kind) for flag, name, kind in OPTIONAL if header.get(flag) == "1"]
    return np.dtype([("time_ms", "<u4"), *optional, ("crystal1", "<u4"), ("crystal2", "<u4")])


def _binary(path: Path, name: str) -> Path:
    """Return the file of events: at the path in the header, else of that name beside the header."""
    said, beside = path.parent / name, path.parent / Path(name).name
    if not is_file(said) and said != beside and is_file(beside):
        log.warning("%s: there is no file %r: %s beside it is read", path, name, beside.name)
        said = beside
    if not is_file(said):
        raise InputError(f"{path}: Data filename: there is no file {name!r:.200}")
    return said


def read_events(path: str | Path) -> NDArray[np.void]:
    """Read the events that a .cdh describes, with all their fields (names: `OPTIONAL`).

    Raises
    ------
    InputError
        If the header cannot be used, or the binary has another size than it says or does not fit
        into memory.
    """
    return _events(path, read_header(path))


def _events(path: str | Path, header: dict[str, str]) -> NDArray[np.void]:
    kind, number = event_type(header), int(header["Number of events"])
    binary = _binary(Path(path), header["Data filename"])
    expected, got = number * kind.itemsize, binary.stat().st_size
    if got != expected:
        raise InputError(
            f"{binary}: got {got} bytes, expected {number} events of {kind.itemsize} bytes"
        )
    check_memory(binary, number * (BYTES_IN_MEMORY + kind.itemsize))
    events = np.fromfile(binary, kind)
    for field in kind.names or ():
        if not np.isfinite(events[field]).all():
            raise InputError(f"{binary}: got NaN or infinite values in {field}")
    return events


def _times_s(
    path: str | Path, header: dict[str, str], time_ms: NDArray[np.uint32]
) -> NDArray[np.float64]:
    """Return times since the start of the acquisition; none if all are 0.

    CASToR's times are of the clock of the start time. Some programs write them since the start.
    """
    if not time_ms.any():
        return np.empty(0)
    time_s = time_ms / MS_PER_S
    start_s = _number(path, header, START, 0.0, -MAX_S, MAX_S)
    duration_s = _duration_s(path, header)
    if start_s != 0 and not _is_within(time_s - start_s, duration_s):
        if not _is_within(time_s, duration_s):
            raise InputError(
                f"{path}: got events from {time_s.min():g} to {time_s.max():g} s, expected "
                f"{start_s:g} to {start_s + (duration_s or 0):g} s, as {START} and {DURATION} say"
            )
        log.warning("%s: times of events are taken from the start at %g s", path, start_s)
        return np.asarray(time_s)
    return np.asarray(time_s - start_s)


def _is_within(time_s: NDArray[np.float64], duration_s: float | None) -> bool:
    """Whether all times may be of an acquisition of this duration."""
    last_s = math.inf if duration_s is None else duration_s + CLOCK_S
    return bool(-CLOCK_S <= time_s.min() and time_s.max() <= last_s)


def read_castor(path: str | Path, num_crystals: int) -> Listmode:
    """Read a .cdh and its .cdf as coincidences; corrections in the file are refused.

    Corrections (attenuation, scatter, randoms, normalisation) come from a map and a calibration
    here. To drop those in the file silently would change the image.

    Raises
    ------
    InputError
        As `read_events`, and if ids are beyond the scanner or the file holds corrections.
    """
    header = read_header(path)
    events = _events(path, header)
    names = events.dtype.names or ()
    held = {"attenuation", "scatter_hz", "random_hz", "normalisation"} & set(names)
    if held:
        raise InputError(
            f"{path}: got corrections per event ({', '.join(sorted(held))}), expected none: give "
            "attenuation as --mu and efficiencies in the scanner"
        )
    check_ids(path, events["crystal1"], events["crystal2"], num_crystals)
    time_ns = -events["tof_ps"] * NS_PER_PS if "tof_ps" in names else np.zeros(len(events))
    return Listmode(
        events["crystal1"].astype(np.int32),
        events["crystal2"].astype(np.int32),
        time_ns.astype(np.float64),
        np.zeros(len(events), np.uint8),
        _times_s(path, header, events["time_ms"]),
    )


def check_ids(
    name: str | Path,
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    num_crystals: int,
) -> None:
    """Refuse crystal ids that the scanner does not have."""
    highest = max((int(ids.max()) for ids in (first, second) if len(ids)), default=0)
    if highest >= num_crystals:
        raise InputError(
            f"{name}: got crystal {highest}, expected 0..{num_crystals - 1} (another scanner?)"
        )


def write_castor(
    path: str | Path, events: Listmode, scanner_name: str, duration_s: float, tof_fwhm_ps: float
) -> None:
    """Write a .cdh and, beside it, a .cdf without corrections.

    Times are rounded to ms; unknown ones are all 0. TOF is written if `tof_fwhm_ps` (of a pair)
    is > 0.
    """
    flag = "1" if tof_fwhm_ps > 0 else "0"
    header = {
        "Scanner name": scanner_name,
        "Data filename": Path(path).with_suffix(".cdf").name,
        "Number of events": str(len(events)),
        "Data mode": "list-mode",
        "Data type": "PET",
        "Start time (s)": "0",
        "Duration (s)": repr(float(duration_s)),
        "TOF information flag": flag,
    }
    content = np.zeros(len(events), event_type(header))
    content["crystal1"], content["crystal2"] = events.crystal1, events.crystal2
    if len(events.time_s) > 0:
        content["time_ms"] = np.rint(events.time_s * MS_PER_S)
    if tof_fwhm_ps > 0:
        content["tof_ps"] = -events.time_difference_ns / NS_PER_PS
        header["TOF resolution (ps)"] = repr(float(tof_fwhm_ps))
        range_ps = 2 * float(np.abs(content["tof_ps"]).max(initial=0.0)) + 1
        header["List TOF measurement range (ps)"] = repr(range_ps)
    with io.atomic(Path(path).with_suffix(".cdf")) as part:
        part.write_bytes(content.tobytes())
    io.write_text(path, "".join(f"{key}: {value}\n" for key, value in header.items()))
