"""The readers and writers of result files. No physics.

Every writer writes a temporary file beside its target and renames it, so a file exists only if it
is whole. Readers find later damage by checksums (`tubepet.checksums`).
"""

import errno
import gzip
import json
import math
import mmap
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngInfo
from safetensors import safe_open

from tubepet import checksums, metaimage
from tubepet.bounds import MAX_JSON_BYTES, check_bytes, check_mm
from tubepet.errors import InputError, reading
from tubepet.types import Grid, Volume

PathLike = str | os.PathLike[str]

MAX_VOLUME_BYTES = 1 << 32  # read into memory; images of the paper's size have 0.1 GB
MAX_HEADER_BYTES = 1 << 26  # with extensions
FULL_BYTES = 1 << 16  # with less room than this left, a failed write is taken for a full disk
PIECE_BYTES = 1 << 25  # of a mapped array read at once
GZIP = b"\x1f\x8b"
NOTE = "ITK_FileNotes"
NIFTI_LITTLE = (b"\x5c\x01\0\0", b"\x1c\x02\0\0")  # sizes of headers, 348 and 540
NIFTI_FLOATS = ("16", "64")  # codes of float32, float64: pieces of 1 MiB cut none of them


@contextmanager
def atomic(path: PathLike) -> Iterator[Path]:
    """Yield a fresh name beside `path`; rename it to `path` when the block ends well.

    The temporary name is unique, so two writers never mix, and keeps the suffixes of `path`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as folder:
        part = Path(folder) / target.name
        try:
            yield part
            checksums.seal(part)
            part.chmod(_usual_mode(Path(folder)))
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        except Exception as error:
            raise _named(error, target) from error
        if checksums.beside(part).is_file():  # first: a table without its sum is not checked
            checksums.beside(part).replace(checksums.beside(target))
        part.replace(target)


def _usual_mode(folder: Path) -> int:
    """Return the usual mode of new files: some libraries make files that only the owner reads."""
    usual = folder / ".usual"
    usual.touch()
    return usual.stat().st_mode


def _named(error: Exception, target: Path) -> Exception:
    """Return the error with the file's name; libraries report a full disk in many ways, or not."""
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, os.strerror(error.errno), str(target))
    no_room = os.strerror(errno.ENOSPC)
    if no_room in str(error) or shutil.disk_usage(target.parent).free < FULL_BYTES:
        return OSError(errno.ENOSPC, no_room, str(target))
    return error


def write_json(path: PathLike, data: Any) -> None:
    """Write `data` as sorted, indented JSON; NaN is refused."""
    text = json.dumps(data, indent=2, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n")


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number:.40} is no finite number")
    return value


def read_json(path: PathLike) -> Any:
    """Read a JSON file; `InputError` if it is none, damaged, too large, or holds NaN."""
    check_bytes(path, MAX_JSON_BYTES)
    with reading(path, "JSON"):
        text = Path(path).read_text(encoding="utf-8")
        data = json.loads(text, parse_float=_finite, parse_constant=_finite)
        if re.search(r"\\u[dD]", text):  # one half of a surrogate pair alone is no text
            json.dumps(data, ensure_ascii=False).encode()
    checksums.check(path)
    if isinstance(data, dict):
        data.pop("sha256", None)
    return data


def write_text(path: PathLike, text: str) -> None:
    """Write a text file as UTF-8."""
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8")


def write_volume(path: PathLike, volume: Volume) -> None:
    """Write a volume as NIfTI with spacing, origin and its note (header field `descrip`)."""
    _write_nifti(path, _as_image(volume), volume.note, volume.array.nbytes)


def write_frames(path: PathLike, frames: Sequence[Volume], start_s: float, frame_s: float) -> None:
    """Write volumes on one grid as 4D NIfTI; frame k starts at ``start_s + k * frame_s``."""
    series = sitk.JoinSeries([_as_image(frame) for frame in frames], start_s, frame_s)
    _write_nifti(path, series, frames[0].note, sum(frame.array.nbytes for frame in frames))


def _as_image(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing([float(v) for v in reversed(volume.grid.voxel_mm)])
    image.SetOrigin([float(v) for v in reversed(volume.grid.origin_mm)])
    return image


def _write_nifti(path: PathLike, image: sitk.Image, note: str, num_bytes: int) -> None:
    if len(note) > 79:
        raise ValueError(f"{path}: note has {len(note)} characters, NIfTI holds 79")
    image.SetMetaData(NOTE, note)
    with atomic(path) as part:
        sitk.WriteImage(image, _utf8(part))
        if _num_bytes_inside(part) <= num_bytes:  # on a full disk ITK says nothing
            raise RuntimeError(f"{path}: the volume was not written whole")


def _utf8(path: PathLike) -> str:
    """Return a name for ITK, which ends the process at one that is not UTF-8."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: expected a name in UTF-8") from error
    return str(path)


def _num_bytes_inside(path: PathLike) -> int:
    """Unpack a gzip stream to its end, checking its CRC."""
    num_bytes = 0
    with gzip.open(path) as stream:
        while piece := stream.read(1 << 20):
            num_bytes += len(piece)
    return num_bytes


def read_volume(path: PathLike, is_ours: bool = True) -> Volume:
    """Read a NIfTI volume (gzip or not) or a MetaImage, and turn its axes to x, y, z.

    The first bytes tell the format, not the name. Integers with a slope are scaled.

    Parameters
    ----------
    is_ours : bool
        Whether the workflow wrote the file, so that a damaged one can be made again.

    Raises
    ------
    InputError
        If the file is damaged, too large, no 3D volume, holds NaN, or its axes are oblique.
    """
    remedy = checksums.remedy(Path(path)) if is_ours else ""
    with reading(path, "a NIfTI volume or a MetaImage", remedy):
        with _unpacked(path) as (stream, is_packed):
            head = stream.read(metaimage.MAX_HEADER_BYTES)
        if metaimage.is_header(head) and not is_packed:
            image, note = _read_metaimage(Path(path))
        elif head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
            _check_axes(path, head)
            image, note = _read_nifti(Path(path), is_packed)
        else:
            raise InputError(
                f"{path}: expected a NIfTI volume or a MetaImage header (.mhd, .mha), got another "
                "file" + f"; {remedy}" * bool(remedy)
            )
        image = sitk.DICOMOrient(image, "LPS")
        array = sitk.GetArrayFromImage(image)
    if array.ndim != 3 or not np.allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-4):
        raise InputError(f"{path}: got oblique axes or colours, expected a 3D volume along x, y, z")
    check_mm(path, "voxels and origin", np.array([*image.GetSpacing(), *image.GetOrigin()]))
    z, y, x = (round(v, 6) for v in reversed(image.GetSpacing()))  # NIfTI holds float32
    oz, oy, ox = (round(v, 6) for v in reversed(image.GetOrigin()))
    if not min(z, y, x) > 0:
        raise InputError(f"{path}: got voxels of {x:g} x {y:g} x {z:g} mm, expected more than 0")
    if array.dtype.kind == "f" and not np.isfinite(array).all():  # integers by a slope
        raise InputError(f"{path}: got values that 32 bits do not hold, expected finite numbers")
    nz, ny, nx = array.shape
    return Volume(array, Grid((nz, ny, nx), (z, y, x), (oz, oy, ox)), note.rstrip("\0 "))


def _check_axes(path: PathLike, head: bytes) -> None:
    """Refuse a NIfTI header whose sizes or axes are no lengths: with NaN, ITK never returns."""
    order = "<" if struct.unpack_from("<i", head)[0] in (348, 540) else ">"
    if head[4:8] == b"n+2\0":
        places = ("4d", 104), ("2i", 344), ("6d", 352), ("12d", 400)
    else:
        places = ("4f", 76), ("2h", 252), ("6f", 256), ("12f", 280)
    sizes, codes, rotated, affine = (struct.unpack_from(order + k, head, i) for k, i in places)
    used = [*sizes, *(rotated if codes[0] > 0 else ()), *(affine if codes[1] > 0 else ())]
    check_mm(path, "voxels and axes", np.array(used))


def _read_metaimage(path: Path) -> tuple[sitk.Image, str]:
    """Return image and note."""
    found = metaimage.read(path, MAX_VOLUME_BYTES, NOTE)
    image = sitk.GetImageFromArray(found.array)
    image.SetSpacing(found.spacing_mm)
    image.SetOrigin(found.origin_mm)
    image.SetDirection(found.direction.ravel().tolist())
    return image, found.note


def _read_nifti(path: Path, is_packed: bool) -> tuple[sitk.Image, str]:
    """Return image and note."""
    with _named_as_it_is(path, is_packed) as name:
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(name))
        reader.ReadImageInformation()
        wanted = math.prod(reader.GetSize()) * _voxel_bytes(reader)
        if wanted > MAX_VOLUME_BYTES:
            raise InputError(f"{path}: got {wanted} bytes, expected at most {MAX_VOLUME_BYTES}")
        _check_nifti(path, reader)
        image = reader.Execute()
    if any(n > 1 for n in image.GetSize()[3:]) or image.GetDimension() < 3:
        raise InputError(f"{path}: got the size {image.GetSize()}, expected a 3D volume")
    for axis in range(image.GetDimension() - 1, 2, -1):
        image = image[(slice(None),) * axis + (0,)]
    return image, reader.GetMetaData(NOTE) if reader.HasMetaDataKey(NOTE) else ""


@contextmanager
def _unpacked(path: PathLike) -> Iterator[tuple[gzip.GzipFile | BufferedReader, bool]]:
    """Open a file, through gzip if its first bytes say so; yield stream and whether it is so."""
    with Path(path).open("rb") as file:
        is_packed = file.read(2) == GZIP
    with gzip.open(path) if is_packed else Path(path).open("rb") as stream:
        yield stream, is_packed


@contextmanager
def _named_as_it_is(path: Path, is_packed: bool) -> Iterator[Path]:
    """Yield a name whose suffix fits the content of a NIfTI file: ITK goes by suffixes."""
    suffix = ".nii.gz" if is_packed else ".nii"
    if path.name.endswith(suffix) and path.as_posix().isascii():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        name = Path(folder) / f"volume{suffix}"
        name.symlink_to(path.resolve())
        yield name


def _check_nifti(path: PathLike, reader: sitk.ImageFileReader) -> None:
    """Refuse a NIfTI file that is cut (ITK makes up the rest) or holds NaN (ITK reads 0).

    A packed file is read to its end, which checks its CRC, but not beyond the size in its header: a
    small file can unpack to any size.
    """
    size, start = int(reader.GetMetaData("bitpix")) // 8, int(reader.GetMetaData("vox_offset"))
    is_float = reader.GetMetaData("datatype") in NIFTI_FLOATS
    wanted, num_bytes = math.prod(reader.GetSize()) * size, 0
    if not 0 <= start <= MAX_HEADER_BYTES:
        raise ValueError(f"voxels from byte {start}")
    with _unpacked(path) as (stream, _):
        head = stream.read(start)
        order = "<" if head[:4] in NIFTI_LITTLE else ">"
        while num_bytes <= wanted + MAX_HEADER_BYTES and (piece := stream.read(1 << 20)):
            inside = piece[: max(wanted - num_bytes, 0)]
            num_bytes += len(piece)
            if not is_float:
                continue
            values = np.frombuffer(inside[: len(inside) // size * size], f"{order}f{size}")
            if not np.isfinite(values).all():
                raise InputError(f"{path}: got NaN or infinite values, expected numbers")
    if not wanted <= num_bytes <= wanted + MAX_HEADER_BYTES:
        raise ValueError(f"{num_bytes} bytes of voxels, {wanted} in its header")


def _voxel_bytes(reader: sitk.ImageFileReader) -> int:
    """Bytes of one voxel of a file whose header was read."""
    one = sitk.Image([1] * 3, reader.GetPixelID(), reader.GetNumberOfComponents())
    return int(sitk.GetArrayViewFromImage(one).nbytes)


def write_array(path: PathLike, array: NDArray[Any]) -> None:
    """Write a plain `.npy` array (never pickled)."""
    with atomic(path) as part:
        np.save(part, array, allow_pickle=False)


@contextmanager
def open_stack(
    path: PathLike, shape: tuple[int, ...], dtype: str = "<f4"
) -> Iterator[Callable[[NDArray[Any]], None]]:
    """Yield a function that appends an image to a `.npy` array, which may exceed memory.

    The file is a stream, not a memory map. On a full disk a map ends the process by a signal; a
    stream raises an `OSError` that names the file.
    """
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    num_images = 0

    with atomic(path) as part:
        with open(part, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)

            def append(image: NDArray[Any]) -> None:
                nonlocal num_images
                assert image.shape == shape[1:], f"got {image.shape}, expected {shape[1:]}"
                file.write(image.astype(dtype, copy=False).tobytes())
                num_images += 1

            yield append
        assert num_images == shape[0], f"got {num_images} images, expected {shape[0]}"


def write_stack(
    path: PathLike, images: Iterable[NDArray[np.float32]], shape: tuple[int, ...]
) -> None:
    """Write images one by one as a float32 `.npy` array of this shape; see `open_stack`."""
    with open_stack(path, shape) as append:
        for image in images:
            append(image)


def read_array(path: PathLike) -> NDArray[Any]:
    """Map a `.npy` array into memory, read-only; `InputError` if it is damaged."""
    checksums.check(path)
    with reading(path, "a .npy array"):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):  # a zip file of arrays
        raise InputError(f"{path}: expected a .npy array, got an archive of arrays")
    return array


def take(array: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[Any]:
    """Return a copy of some rows, and release the memory of a mapped array.

    Pages of a mapped file count as memory of the process until the system needs them elsewhere:
    Slurm would see a training grow to the size of its data set.
    """
    copy: NDArray[Any] = np.asarray(array[rows])
    file = getattr(array, "_mmap", None)  # numpy's name, on views of the whole too
    if file is not None:
        file.madvise(mmap.MADV_DONTNEED)
    return copy


def evenly(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return `most` of the rows, evenly spread, or all of them if they are fewer."""
    return rows[np.arange(most) * len(rows) // most] if len(rows) > most else rows


def pieces(array: NDArray[Any], rows: NDArray[np.intp]) -> Iterator[NDArray[Any]]:
    """Yield copies of consecutive rows, each of at most `PIECE_BYTES` (but at least one row)."""
    num = max(1, PIECE_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(rows), num):
        yield take(array, rows[start : start + num])


def checked(path: PathLike) -> PathLike:
    """Check a safetensors file's seal and header and return its path.

    The caller then reads it by the package safetensors, for NumPy or PyTorch.
    """
    checksums.check(path)
    with reading(path, "safetensors"), safe_open(path, "numpy") as file:
        file.keys()
    return path


def write_table(path: PathLike, table: pd.DataFrame) -> None:
    """Write a table as Parquet or CSV, by the suffix."""
    with atomic(path) as part:
        if Path(path).suffix == ".parquet":
            table.to_parquet(part, index=False)
        else:
            table.to_csv(part, index=False)


def read_table(path: PathLike) -> pd.DataFrame:
    """Read a Parquet or CSV table, by the suffix; `InputError` if it is damaged."""
    checksums.check(path)
    with reading(path, "a readable table"):
        return pd.read_parquet(path) if Path(path).suffix == ".parquet" else pd.read_csv(path)


def write_figure(path: PathLike, figure: Any) -> None:
    """Write a matplotlib figure as PNG with its numbers (`tubepet.figure_data`).

    The file has no date, so equal figures give equal files.
    """
    from tubepet import figure_data

    info = PngInfo()
    info.add(figure_data.CHUNK, figure_data.packed(figure))
    with atomic(path) as part:
        figure.savefig(part, dpi=110, pil_kwargs={"pnginfo": info})
