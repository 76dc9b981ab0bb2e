"""tubepet: from a tube in a config file to generated positron images.

The Snakefile imports this file, so it needs only the standard library.
"""

import atexit
import logging
import os
import shutil
import tempfile
from pathlib import Path

__version__ = "0.2.0"


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


_give_numba_a_place()
