"""Reader of a folder of DICOM CT series (stage 04).

The reader takes every axial CT slice, one per file or one per frame. It groups them by
SeriesInstanceUID and orders them along their normal. Other files are left out and counted by reason
(`tubepet.ct.headers`). Links are not followed, so nothing outside the folder is read.

References
----------
DICOM PS3.3, section C.7.5.1.1.2 (pixel padding).
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet.ct import headers, pixels
from tubepet.ct.deeplesion import INDEX_COLUMNS, leads_out
from tubepet.ct.headers import Header, LeftOut, Slice
from tubepet.errors import InputError, reading, shown
from tubepet.logs import log

MAX_HU = 1 << 24  # far beyond any CT; larger values come from a damaged slope
MAX_REASONS = 50  # counted separately
AIR_HU = -1000  # replaces padding, which marks pixels outside the field of view
# What names the patient, by `ct.patient`: a field of DICOM, or the first folder.
PATIENTS: dict[str, Callable[[Header, str], str]] = {
    "id": lambda header, relative: header.text("PatientID"),
    "study": lambda header, relative: header.text("StudyInstanceUID"),
    "folder": lambda header, relative: relative.split("/")[0] if "/" in relative else "",
}


def index_slices(
    source_dir: Path, patient: str = "id"
) -> tuple[pd.DataFrame, dict[str, int | dict[str, int]]]:
    """List the axial CT slices in a folder and its subfolders.

    Parameters
    ----------
    source_dir : Path
        Folder of DICOM files of any names.
    patient : str
        What tells patients apart: "id" (PatientID), "study" (StudyInstanceUID), or "folder", the
        first folder below `source_dir`.

    Returns
    -------
    index : DataFrame
        Columns of `tubepet.ct.deeplesion.index_slices`. Study and series are DICOM's identifiers,
        `slice` counts from 0 along the normal, split is empty.
    counts : dict
        num_files, and `left_out`: the number of files left out, by reason.

    Raises
    ------
    InputError
        If a CT slice is damaged, too large or without patient, if a field of it is missing or
        impossible, or if the folder has no CT slice. The message names file or folder.
    """
    found: list[tuple[str, str, str, float, str, str, int]] = []
    left_out: Counter[str] = Counter()
    first_left_out: dict[str, str] = {}
    seen: set[tuple[str, str, float, int]] = set()
    num_files = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about fields that are not used here
        for relative, reason in _files(source_dir):
            num_files += 1
            try:
                if reason:
                    raise LeftOut(reason)
                header, slices = _slices(source_dir / relative)
                name = PATIENTS[patient](header, relative)
                if not name:
                    raise InputError(_no_patient(source_dir / relative, patient))
                study, series = header.text("StudyInstanceUID"), header.text("SeriesInstanceUID")
                instance = header.text("SOPInstanceUID") or relative
                for one in slices:
                    key = (instance, series, one.height_mm, one.frame)
                    if key in seen:
                        raise LeftOut("copy of another file")
                    seen.add(key)
                    found.append((name, study, series, one.height_mm, "", relative, one.frame))
            except LeftOut as error:
                is_known = str(error) in left_out or len(left_out) < MAX_REASONS
                left_out[reason := str(error) if is_known else "other reasons"] += 1
                first_left_out.setdefault(reason, relative)
    said = shown(
        "; ".join(
            f"{num} {reason} ({first_left_out[reason]})" for reason, num in sorted(left_out.items())
        )
    )
    if not found:
        raise InputError(
            f"{source_dir}: got no CT slices among {num_files} files, expected DICOM files (SOP "
            f"class CT Image Storage or Enhanced CT)" + f"; left out: {said}"[:2000] * bool(said)
        )
    if said:
        log.warning("CT: left out, by reason with the first file: %s", said)
    index = pd.DataFrame(found, columns=INDEX_COLUMNS)
    index = index.sort_values(
        ["patient", "series", "slice", "source_file", "frame"], ignore_index=True
    )
    index["slice"] = index.groupby(["patient", "series"]).cumcount()
    return index, {"num_files": num_files, "left_out": dict(sorted(left_out.items()))}


def _files(root: Path) -> Iterator[tuple[str, str]]:
    """Yield relative path of each file of a folder, in order, and why it is left out, if it is."""

    def fail(error: OSError) -> None:
        raise error  # os.walk would silently leave out folders that may not be read

    for folder, folders, files in os.walk(root, onerror=fail):
        folders.sort()
        for name in sorted([*files, *(f for f in folders if Path(folder, f).is_symlink())]):
            path = Path(folder, name)
            relative, reason = path.relative_to(root).as_posix(), ""
            if path.is_symlink():
                if not leads_out(path, root):
                    continue  # its target is listed itself
                reason = "link that leads out or nowhere"
            elif name.startswith("._"):
                reason = "macOS resource fork"
            elif not path.is_file():
                reason = "no regular file"
            elif not _is_utf8(relative):
                reason = "name that is not UTF-8"
            yield relative, reason


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _slices(path: Path) -> tuple[Header, list[Slice]]:
    """Return header and slices of a file."""
    with reading(path, "a DICOM file"):
        header = headers.read(path)
        slices = headers.slices_of(header, path)
        pixels.check(header, path)
    return header, slices


@lru_cache(maxsize=1)
def _last(path: Path, mtime_ns: int) -> tuple[Header, list[Slice]]:
    """Return header and slices of a file; cached, since frames of one file are read in a row."""
    return _slices(path)


def _no_patient(path: Path, patient: str) -> str:
    if patient == "folder":
        return f"{path}: got no folder below ct.source_dir, expected one for each patient"
    return (
        f"{path}: got an empty PatientID, expected one: patients are kept apart in training and "
        "test (ct.patient: study or folder takes the study or the first folder for the patient)"
    )


def _padding(header: Header, stored: NDArray[np.int64], one: Slice) -> NDArray[np.bool_]:
    """Return a mask of pixels outside the field of view, by PixelPaddingValue (and its range).

    A padding value above that of air is ignored. Files that were converted to HU keep the padding
    value from before, which may be tissue then.
    """
    if "PixelPaddingValue" not in header.fields:
        return np.zeros(stored.shape, bool)
    ends = [header.number("PixelPaddingValue", 0)]
    ends.append(header.number("PixelPaddingRangeLimit", ends[0]))
    if header.is_signed:  # the fields hold 16 bits without a sign
        ends = [value - (value >= 1 << 15) * (1 << 16) for value in ends]
    if max(ends) * one.slope + one.intercept > AIR_HU:
        return np.zeros(stored.shape, bool)
    return (stored >= min(ends)) & (stored <= max(ends))


def _square(hu: NDArray[np.int32], stretch: float) -> NDArray[np.int32]:
    """Repeat rows or columns until pixels are square, without interpolation."""
    shape = np.array(hu.shape)
    wanted = np.rint(shape * np.maximum(1, [stretch, 1 / stretch])).astype(int)
    rows, columns = (np.arange(new) * old // new for new, old in zip(wanted, shape, strict=True))
    return hu[np.ix_(rows, columns)]


def read_hu(path: Path, frame: int = 0) -> NDArray[np.int32]:
    """Read one slice.

    Parameters
    ----------
    path : Path
        DICOM file of CT.
    frame : int
        Number of its frame, from 0.

    Returns
    -------
    int32 array, shape (H, W)
        HU = slope * stored + intercept, rounded. Padding is -1000 HU; pixels are square.

    Raises
    ------
    InputError
        If the file is no axial CT slice in HU, or pixels are missing or impossible.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            is_next = frame > 0
            header, slices = _last(path, path.stat().st_mtime_ns) if is_next else _slices(path)
        except LeftOut as error:
            raise InputError(f"{path}: got {error}, expected an axial CT slice in HU") from error
        one = next((s for s in slices if s.frame == frame), None)
        if one is None:
            raise InputError(f"{path}: got no axial frame {frame + 1}, expected one")
        with reading(path, "whole pixels"):
            stored = pixels.read_stored(header, path, frame)
            hu = np.rint(stored * one.slope + one.intercept)
            hu = np.where(_padding(header, stored, one), AIR_HU, hu)
    if not np.isfinite(hu).all() or np.abs(hu).max() > MAX_HU:
        raise InputError(f"{path}: got values beyond {MAX_HU} HU, expected a CT slice")
    return _square(hu.astype(np.int32), one.stretch)
