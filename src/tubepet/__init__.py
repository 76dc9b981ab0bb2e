"""tubepet: from a tube in a config file to generated positron images.

The Snakefile imports this file, so it needs only the standard library.
"""

import atexit
import ctypes
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

__version__ = "0.2.0"

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of malloc.h


def _is_writable(folder: Path) -> bool:
    """Whether a folder is writable, or can be made."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return os.access(there, os.W_OK | os.X_OK)


def _give_numba_a_place() -> None:
    """Give numba a temporary folder for compiled kernels if it cannot write to its own.

    Numba looks beside the sources, then in the user's cache (`numba.core.caching`), else it fails.
    Child processes inherit the folder by `NUMBA_CACHE_DIR`. It is deleted at exit.
    """
    # Path.expanduser raises an error where nobody has a home
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    if "NUMBA_CACHE_DIR" in os.environ or any(
        map(_is_writable, (Path(__file__).parent, Path(caches)))
    ):
        return
    folder = tempfile.mkdtemp(prefix="tubepet-numba-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = folder
    logging.getLogger(__name__).warning(
        "no place for compiled kernels in %s or %s: they are compiled anew each time in %s; set "
        "NUMBA_CACHE_DIR to a folder of yours", Path(__file__).parent, caches, folder,
    )  # fmt: skip


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next array (mallopt(3)).

    It would give large arrays back to the system at once, and the next one would be cleared page by
    page: a fifth of the CPU time of an inspection. Other C libraries have no such switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


_give_numba_a_place()
_keep_freed_memory()
