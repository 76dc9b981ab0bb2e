"""Reader of DeepLesion's layout: Images_png/PPPPPP_SS_RR/III.png and DL_info.csv (stage 04).

PPPPPP is the patient, SS the study, RR the series, III the slice; HU = pixel - 32768. A row of
DL_info.csv names one key slice; `Slice_range` adds its neighbours, which may be missing on disk.
Images_png may have another name if no other folder holds series. The reader writes nothing and
refuses links that lead out of the folder.

References
----------
Yan et al., J. Med. Imaging 5(3) 036501 (2018), doi:10.1117/1.JMI.5.3.036501.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from tubepet.errors import InputError, reading

HU_OFFSET = 32768  # DeepLesion stores HU + 32768 in unsigned 16 bits
MAX_SIDE_PIXELS = 2048  # larger than any clinical CT matrix; checked before decoding
SPLITS = {1: "train", 2: "val", 3: "test"}  # DL_info.csv, column Train_Val_Test
REQUIRED_COLUMNS = ("File_name", "Possibly_noisy", "Slice_range")
MAX_INDEX_BYTES = 1 << 28  # DL_info.csv has 7 MB
SERIES = re.compile(r"\d{6}_\d{2}_\d{2}", re.ASCII)
FILE_NAME = re.compile(r"(\d{6})_(\d{2})_(\d{2})_(\d{3,4})\.png", re.ASCII)
INDEX_COLUMNS = ["patient", "study", "series", "slice", "split", "source_file", "frame"]


@dataclass(frozen=True)
class SliceName:
    """One slice's place in DeepLesion: the numbers of its file name."""

    patient: int
    study: int
    series: int
    slice: int

    @property
    def folder(self) -> str:
        """Name of the series' folder in Images_png."""
        return f"{self.patient:06d}_{self.study:02d}_{self.series:02d}"

    @property
    def path(self) -> str:
        """Path of the slice's file, relative to the folder of all series."""
        return f"{self.folder}/{self.slice:03d}.png"


def parse_file_name(text: str, where: str) -> SliceName:
    """Parse a `File_name`; its last underscore is a slash in the path of the file.

    Parameters
    ----------
    text : str
        For instance ``"000001_01_01_109.png"``.
    where : str
        Named by the error, for instance ``"DL_info.csv row 3"``.

    Raises
    ------
    InputError
        If the text is anything else, a path for instance.
    """
    match = FILE_NAME.fullmatch(text)
    if match is None:
        raise InputError(
            f"{where}: File_name got {text!r}, expected PPPPPP_SS_RR_III.png, a file in Images_png"
        )
    patient, study, series, i_slice = (int(number) for number in match.groups())
    return SliceName(patient, study, series, i_slice)


def _parse_range(text: str, key: int, where: str) -> range:
    """Return the slices of ``"first, last"`` (both included), or the key slice if it is empty."""
    if not text:
        return range(key, key + 1)
    match = re.fullmatch(r"\s*(\d{1,4})\s*,\s*(\d{1,4})\s*", text, re.ASCII)
    if match is None or not int(match[1]) <= key <= int(match[2]):
        raise InputError(
            f"{where}: Slice_range got {text!r}, expected 'first, last' around key slice {key}"
        )
    return range(int(match[1]), int(match[2]) + 1)


def _is_noisy(text: str, where: str) -> bool:
    text = text.removesuffix(".0")  # some programs save whole numbers so
    if text not in ("", "0", "1"):
        raise InputError(f"{where}: Possibly_noisy got {text!r}, expected 0 or 1")
    return text == "1"


def _read_rows(csv_path: Path) -> pd.DataFrame:
    """Read DL_info.csv as text; an empty field is an empty string."""
    if not csv_path.is_file():
        raise InputError(f"{csv_path}: no such file, expected DeepLesion's table beside Images_png")
    if (size := csv_path.stat().st_size) > MAX_INDEX_BYTES:
        raise InputError(f"{csv_path}: got {size} bytes, expected at most {MAX_INDEX_BYTES}")
    with reading(csv_path, "a table with a header"):
        rows = pd.read_csv(csv_path, dtype=str, keep_default_na=False)
    missing = [column for column in REQUIRED_COLUMNS if column not in rows]
    if missing:
        raise InputError(f"{csv_path}: columns {', '.join(missing)} are missing")
    if rows.empty:
        raise InputError(f"{csv_path}: got no rows, expected at least one key slice")
    return rows.apply(lambda column: column.str.strip())


def _official_split(rows: pd.DataFrame, names: list[SliceName], csv_path: Path) -> dict[int, str]:
    """Return each patient's split from Train_Val_Test; {} if the column is missing or blank."""
    if "Train_Val_Test" not in rows or not rows["Train_Val_Test"].any():
        return {}
    split: dict[int, str] = {}
    for i, (text, name) in enumerate(zip(rows["Train_Val_Test"], names, strict=True)):
        text = text.removesuffix(".0")
        if text not in ("1", "2", "3"):
            raise InputError(
                f"{csv_path} row {i + 2}: Train_Val_Test got {text!r}, expected 1, 2 or 3"
            )
        if split.setdefault(name.patient, SPLITS[int(text)]) != SPLITS[int(text)]:
            raise InputError(
                f"{csv_path} row {i + 2}: patient {name.patient:06d} is in {SPLITS[int(text)]} and "
                f"in {split[name.patient]}, expected one split per patient"
            )
    return split


def _images_dir(source_dir: Path) -> Path:
    """Return the folder of the series: Images_png, or the only one that holds any."""
    named = source_dir / "Images_png"
    folders = (path for path in sorted(source_dir.glob("*")) if path.is_dir() and path != named)
    others = (path for path in folders if path.name.isprintable() and not path.is_symlink())
    holding = [
        folder
        for folder in (*([named] if named.is_dir() else []), *others)
        if any(SERIES.fullmatch(path.name) for path in folder.iterdir())
    ]
    if named in holding or len(holding) == 1:
        return holding[0]
    raise InputError(
        f"{named}: got no images, expected folders PPPPPP_SS_RR of PNG files"
        + f" (in which of {', '.join(path.name for path in holding)}?)" * bool(holding)
    )


def leads_out(path: Path, root: Path) -> bool:
    """Return whether a link leads out of a folder, or nowhere."""
    try:
        return not path.resolve(strict=True).is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # it leads to nothing, or to itself
        return True


def _check_link(path: Path, root: Path) -> None:
    if path.is_symlink() and leads_out(path, root):
        raise InputError(f"{path}: leads out of {root}, expected what lies inside it")


def _slices_on_disk(images_dir: Path, name: SliceName) -> set[int]:
    """Return the numbers of a series' slices that exist; none if the series does not."""
    folder = images_dir / name.folder
    if not folder.is_dir():
        return set()
    numbers = set()
    for path in (folder, *folder.iterdir()):
        _check_link(path, images_dir)
        if re.fullmatch(r"\d{3,4}\.png", path.name, re.ASCII) and path.is_file():
            numbers.add(int(path.stem))
    return numbers


def index_slices(
    source_dir: Path, drop_noisy: bool, allow_partial: bool = False
) -> tuple[pd.DataFrame, dict[str, int]]:
    """List the slices that DL_info.csv points to and that exist.

    Parameters
    ----------
    source_dir : Path
        Folder with Images_png and DL_info.csv.
    drop_noisy : bool
        Leave out the rows with Possibly_noisy = 1.
    allow_partial : bool
        Leave out the rows whose key slice does not exist, as in a partial download.

    Returns
    -------
    index : DataFrame
        Columns patient, study, series (str), slice (int), split (str; empty for every row if the
        table has no Train_Val_Test), source_file (relative to `source_dir`) and frame (0). Rows
        are sorted by path.
    counts : dict
        num_rows, num_noisy_rows_dropped, num_rows_without_image, num_missing_neighbours.

    Raises
    ------
    InputError
        If there is no table or no image, a row is damaged, a name is no file of Images_png, a key
        slice does not exist, a patient is in two splits, or a link leads out of the folder. The
        message names file and row.
    """
    csv_path, images_dir = source_dir / "DL_info.csv", _images_dir(source_dir)
    for path in (csv_path, images_dir):
        _check_link(path, source_dir)
    rows = _read_rows(csv_path)
    where = [f"{csv_path} row {i + 2}" for i in range(len(rows))]  # row 1 is the header
    names = [parse_file_name(n, w) for n, w in zip(rows["File_name"], where, strict=True)]
    split = _official_split(rows, names, csv_path)

    on_disk: dict[str, set[int]] = {}
    found: set[tuple[SliceName, str]] = set()
    missing: set[str] = set()
    num_noisy = num_absent = 0
    for name, row_where, noisy, text in zip(
        names, where, rows["Possibly_noisy"], rows["Slice_range"], strict=True
    ):
        if _is_noisy(noisy, row_where) and drop_noisy:
            num_noisy += 1
            continue
        if name.folder not in on_disk:
            on_disk[name.folder] = _slices_on_disk(images_dir, name)
        if name.slice not in on_disk[name.folder]:
            num_absent += 1
            if allow_partial:
                continue
            raise InputError(
                f"{row_where}: key slice {images_dir / name.path} does not exist, expected a PNG "
                "file (ct.allow_partial leaves out such rows of a partial download)"
            )
        for i_slice in _parse_range(text, name.slice, row_where):
            neighbour = SliceName(name.patient, name.study, name.series, i_slice)
            if i_slice in on_disk[name.folder]:
                found.add((neighbour, neighbour.path))
            else:
                missing.add(neighbour.path)
    records = [
        (f"{n.patient:06d}", f"{n.study:02d}", f"{n.series:02d}", n.slice,
         split.get(n.patient, ""), f"{images_dir.name}/{path}", 0)
        for n, path in sorted(found, key=lambda item: item[1])
    ]  # fmt: skip
    counts = {
        "num_rows": len(rows),
        "num_noisy_rows_dropped": num_noisy,
        "num_rows_without_image": num_absent,
        "num_missing_neighbours": len(missing),
    }
    return pd.DataFrame(records, columns=INDEX_COLUMNS), counts


def read_hu(path: Path) -> NDArray[np.int32]:
    """Read one slice.

    Parameters
    ----------
    path : Path
        16-bit grey PNG holding HU + 32768.

    Returns
    -------
    int32 array, shape (H, W)
        HU. Values below -1024, with which scanners pad, are kept.

    Raises
    ------
    InputError
        If the file is no PNG, is incomplete, has 8 bits or colours, or is larger than any CT.
    """
    with reading(path, "a whole PNG"), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # sizes are checked below
        try:
            image = Image.open(path, formats=("PNG",))
        except Image.DecompressionBombError as error:
            raise InputError(
                f"{path}: too many pixels, expected at most {MAX_SIDE_PIXELS} x {MAX_SIDE_PIXELS}"
            ) from error
        with image:
            width, height = image.size
            if max(width, height) > MAX_SIDE_PIXELS:
                raise InputError(
                    f"{path}: got {width} x {height} pixels, expected at most "
                    f"{MAX_SIDE_PIXELS} x {MAX_SIDE_PIXELS}"
                )
            if not image.mode.startswith("I;16"):
                raise InputError(
                    f"{path}: got a PNG of mode {image.mode!r} (8 bits per channel or fewer), "
                    "expected 16-bit grey holding HU + 32768"
                )
            image.load()
            stored = np.asarray(image)
    return stored.astype(np.int32) - HU_OFFSET  # an unsigned difference would wrap
