"""CASToR's PET list-mode files: a text header (.cdh), a binary of events (.cdf), and a .lut.

An event is packed, little-endian: time (uint32, ms), then those of attenuation, kind, scatter,
random, normalisation and TOF that the header's flags announce (kind: uint8, the others float32),
then both crystal ids (uint32). Order and keys: CASToR general documentation and its class
iDataFilePET (version 3.1). TOF is t1 - t2 in ps, as castor-GATERootToCastor writes it.

Simplified: one line per event, no points of interaction. Headers that announce these are refused.
A .lut holds per crystal six float32: x, y, z (mm) and the direction in which the crystal looks.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubepet import io
from tubepet.errors import InputError
from tubepet.types import Listmode

NS_PER_PS = 1e-3
MS_PER_S = 1e3
MAX_BYTES = 64 * 2**30  # of a .cdf: 4e9 events; larger is taken for a damaged header
MAX_DIGITS = 18
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
KNOWN = {
    *NEEDED, *(flag for flag, _, _ in OPTIONAL), "Start time (s)", "Duration (s)", "Isotope",
    "Calibration factor", "TOF resolution (ps)", "List TOF measurement range (ps)",
    "List TOF quantization bin size (ps)", "Per event TOF resolution flag",
    "Maximum number of lines per event", "Maximum axial difference mm",
}  # fmt: skip


def read_header(path: str | Path) -> dict[str, str]:
    """Read a .cdh.

    Raises
    ------
    InputError
        If a line is not ``key: value``, a key is unknown, double or missing, or the data are not
        PET list-mode with one line per event.
    """
    header: dict[str, str] = {}
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a text header, got a binary file") from error
    for line in filter(None, map(str.strip, text.splitlines())):
        key, colon, value = (part.strip() for part in line.partition(":"))
        if line.startswith("#"):
            continue
        if not colon or key not in KNOWN or key in header:
            reason = "a double key" if key in header else "an unknown line"
            raise InputError(f"{path}: got {reason} {line[:80]!r}, expected CASToR's keys once")
        header[key] = value
    if missing := [key for key in NEEDED if not header.get(key)]:
        raise InputError(f"{path}: expected the keys {', '.join(missing)}")
    allowed = {
        "Data mode": ("list", "list-mode"), "Data type": ("PET",),
        "Per event TOF resolution flag": ("0",), "Maximum number of lines per event": ("1",),
        **{flag: ("0", "1") for flag, _, _ in OPTIONAL},
    }  # fmt: skip
    for key, values in allowed.items():
        if header.get(key, values[0]) not in values:
            raise InputError(f"{path}: {key}: got {header[key]!r}, expected {' or '.join(values)}")
    number = header["Number of events"]
    if not number.isdecimal() or len(number) > MAX_DIGITS:
        raise InputError(f"{path}: Number of events: got {number!r:.40}, expected a number")
    return header


def event_type(header: dict[str, str]) -> np.dtype:
    """Return the packed type of an event."""
    optional = [(name, kind) for flag, name, kind in OPTIONAL if header.get(flag) == "1"]
    return np.dtype([("time_ms", "<u4"), *optional, ("crystal1", "<u4"), ("crystal2", "<u4")])


def read_events(path: str | Path) -> NDArray[np.void]:
    """Read the events that a .cdh describes, with all their fields (names: `OPTIONAL`).

    Raises
    ------
    InputError
        If the header cannot be used or the binary has another size than it says.
    """
    header = read_header(path)
    kind, number = event_type(header), int(header["Number of events"])
    name = header["Data filename"]
    if Path(name).name != name:
        raise InputError(f"{path}: Data filename: got {name!r}, expected a file beside the header")
    binary = Path(path).with_name(name)
    expected = number * kind.itemsize
    if not binary.is_file():
        raise InputError(f"{path}: Data filename: there is no file {binary}")
    got = binary.stat().st_size
    if got != expected or expected > MAX_BYTES:
        raise InputError(
            f"{binary}: got {got} bytes, expected {number} events of {kind.itemsize} bytes, and at "
            f"most {MAX_BYTES}"
        )
    events = np.fromfile(binary, kind)
    for field in kind.names or ():
        if not np.isfinite(events[field]).all():
            raise InputError(f"{binary}: got NaN or infinite values in {field}")
    return events


def read_castor(path: str | Path, num_crystals: int) -> Listmode:
    """Read a .cdh and its .cdf as coincidences; corrections in the file are refused.

    Corrections (attenuation, scatter, randoms, normalisation) are part of the model here and come
    from a map and a calibration; to drop them silently would change the image.

    Raises
    ------
    InputError
        As `read_events`, and if ids are beyond the scanner or the file holds corrections.
    """
    events = read_events(path)
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
        events["time_ms"] / MS_PER_S if events["time_ms"].any() else np.empty(0),
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

    Times are rounded to ms; 0 everywhere stands for unknown ones. TOF is written if `tof_fwhm_ps`,
    a pair's, is > 0.
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


def read_lut(path: str | Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read a .lut: end points (n, 3) in mm and normals (n, 3) as they are in the file."""
    size = Path(path).stat().st_size
    if size == 0 or size % 24 or size > MAX_BYTES:
        raise InputError(f"{path}: got {size} bytes, expected 24 for each crystal")
    values = np.fromfile(path, "<f4").reshape(-1, 6).astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: got NaN or infinite values")
    return values[:, :3].copy(), values[:, 3:].copy()
