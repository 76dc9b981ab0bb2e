"""Line integrals and their adjoint by libparallelproj, where it is installed.

libparallelproj 2 (Apache-2.0, https://github.com/KUL-recon-lab/libparallelproj; conda-forge) is the
reference implementation of the field. It has no wheel. The system's loader finds its C library, or
the environment variable `TUBEPET_PARALLELPROJ` gives the path. It drops lines that pass the image
by less than a voxel, where `Lines` interpolates toward zero. So compare images away from the rim.
"""

import ctypes
import ctypes.util
import os

import numpy as np
from numpy.typing import NDArray

from tubepet.errors import InputError
from tubepet.types import Grid

TOF_BIN_MM = 0.1  # positions are binned; finer than any resolution
_FLOATS = np.ctypeslib.ndpointer(np.float32, flags="C")
_INTS = np.ctypeslib.ndpointer(np.int32, flags="C")
_SHORTS = np.ctypeslib.ndpointer(np.int16, flags="C")
_PLAIN = [*[_FLOATS] * 6, ctypes.c_size_t, _INTS]
_TOF = [ctypes.c_float, _FLOATS, _FLOATS, ctypes.c_float, _SHORTS, ctypes.c_short]
_LAST = [ctypes.c_int, ctypes.c_int]  # device, threads of a GPU block
CPU = (0, 64)


def find_library() -> str | None:
    """Path or name of the C library, None if there is none."""
    return os.environ.get("TUBEPET_PARALLELPROJ") or ctypes.util.find_library("parallelproj")


def load(path: str | None = None) -> ctypes.CDLL:
    """Load the library.

    Raises
    ------
    InputError
        If it is not there or is not version 2.
    """
    path = path or find_library()
    try:
        library = ctypes.CDLL(path or "libparallelproj.so")
        library.parallelproj_version_major.restype = ctypes.c_int
        version = library.parallelproj_version_major()
    except (OSError, AttributeError) as error:
        raise InputError(
            f"reconstruct.backend: got parallelproj and {error}, expected version 2 of the library "
            "libparallelproj, its path in TUBEPET_PARALLELPROJ, or the backend numba"
        ) from error
    if version != 2:
        raise InputError(f"libparallelproj {path}: got version {version}, expected 2")
    for name in ("joseph3d_fwd", "joseph3d_back"):
        getattr(library, name).argtypes = [*_PLAIN, *_LAST]
        getattr(library, name).restype = None
    for name in ("joseph3d_tof_lm_fwd", "joseph3d_tof_lm_back"):
        getattr(library, name).argtypes = [*_PLAIN, *_TOF, ctypes.c_ubyte, ctypes.c_ubyte, *_LAST]
        getattr(library, name).restype = None
    return library


def prepare(
    grid: Grid,
    points: NDArray[np.float64],
    first: NDArray[np.integer],
    second: NDArray[np.integer],
) -> tuple[NDArray[np.generic], ...]:
    """Line ends, origin, voxel size and shape as the library takes them, axes (x, y, z)."""
    ends = (np.ascontiguousarray(points[end], np.float32) for end in (first, second))
    numbers = (np.array(n[::-1], np.float32) for n in (grid.origin_mm, grid.voxel_mm))
    return (*ends, *numbers, np.array(grid.shape[::-1], np.int32))


def tof_arguments(
    tof_mm: NDArray[np.floating], sigma_mm: float, reach_sigmas: float
) -> tuple[object, ...]:
    """Time-of-flight arguments: bin width, sigma, offset, reach, bins, their number, two flags."""
    half = int(np.ceil(np.abs(tof_mm).max(initial=0) / TOF_BIN_MM)) + 1
    if 2 * half + 1 > np.iinfo(np.int16).max:
        raise InputError(f"tof_mm: got positions up to {half * TOF_BIN_MM:.0f} mm, expected 1600")
    bins = (np.rint(tof_mm / TOF_BIN_MM) + half).astype(np.int16)
    sigma, offset = np.array([sigma_mm], np.float32), np.zeros(1, np.float32)
    return (TOF_BIN_MM, sigma, offset, float(reach_sigmas), bins, 2 * half + 1, 0, 0)


def forward(
    image: NDArray[np.floating],
    prepared: tuple[NDArray[np.generic], ...],
    tof: tuple[object, ...],
) -> NDArray[np.float64]:
    """Integrate an image with axes (z, y, x) along prepared lines, shape (n,)."""
    moved = np.ascontiguousarray(np.transpose(image), np.float32)
    sums = joseph_forward(load(), moved, prepared, tof)
    return sums.astype(np.float64) / (TOF_BIN_MM if tof else 1.0)


def back(
    values: NDArray[np.float64],
    prepared: tuple[NDArray[np.generic], ...],
    tof: tuple[object, ...],
) -> NDArray[np.float64]:
    """Spread values along prepared lines, shape (nz, ny, nx): the adjoint of `forward`."""
    image = joseph_back(load(), np.ascontiguousarray(values, np.float32), prepared, tof)
    return image.T.astype(np.float64, order="C") / (TOF_BIN_MM if tof else 1.0)


def joseph_forward(
    library: ctypes.CDLL,
    image: NDArray[np.float32],
    prepared: tuple[NDArray[np.generic], ...],
    tof: tuple[object, ...] = (),
) -> NDArray[np.float32]:
    """Integrate an image with axes (x, y, z) along prepared lines, shape (n,)."""
    start, end, origin, voxel, shape = prepared
    sums = np.zeros(len(start), np.float32)
    call = library.joseph3d_tof_lm_fwd if tof else library.joseph3d_fwd
    call(start, end, image, origin, voxel, sums, len(start), shape, *tof, *CPU)
    return sums


def joseph_back(
    library: ctypes.CDLL,
    values: NDArray[np.float32],
    prepared: tuple[NDArray[np.generic], ...],
    tof: tuple[object, ...] = (),
) -> NDArray[np.float32]:
    """Spread values along prepared lines, shape (nx, ny, nz)."""
    start, end, origin, voxel, shape = prepared
    image = np.zeros(tuple(shape), np.float32)
    call = library.joseph3d_tof_lm_back if tof else library.joseph3d_back
    call(start, end, image, origin, voxel, values, len(start), shape, *tof, *CPU)
    return image
