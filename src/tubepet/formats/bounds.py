"""Limits on what files declare, checked before memory or time is spent on them."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tubepet.errors import InputError

MAX_TEXT_BYTES = 2**20  # of a header or a description of a scanner
MAX_MM = 1e5  # of a coordinate or size
MAX_CRYSTALS = 1_000_000  # of a scanner; a whole body has half of that
MEMORY_SHARE = 0.5  # of the machine's, for the events of one file


def memory_bytes() -> float:
    """Return what the events of one file may take."""
    return MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(name: str | Path, need_bytes: float) -> None:
    """Refuse a file whose content does not fit into memory."""
    if need_bytes > (have_bytes := memory_bytes()):
        raise InputError(
            f"{name}: got events that need {need_bytes / 1e9:.3g} GB of memory, expected at most "
            f"{have_bytes / 1e9:.3g} GB, half of this machine's"
        )


def check_mm(name: str | Path, what: str, values_mm: NDArray[np.floating]) -> None:
    """Refuse places and sizes that are not finite, or so large that they are no mm."""
    if not (np.abs(values_mm) <= MAX_MM).all():  # also if NaN
        raise InputError(f"{name}: {what}: expected finite numbers of at most {MAX_MM:g} mm")


def check_num_crystals(name: str | Path, num: int) -> None:
    """Refuse a scanner without crystals, or of more than `MAX_CRYSTALS`."""
    if not 1 <= num <= MAX_CRYSTALS:
        raise InputError(f"{name}: got {num:.6g} crystals, expected 1 to {MAX_CRYSTALS}")


def check_regular(path: str | Path) -> None:
    """Refuse pipes and devices, which may never end."""
    if Path(path).exists() and not Path(path).is_file():
        raise InputError(f"{path}: expected a regular file, got a pipe, a device or a folder")


def read_text(path: str | Path) -> str:
    """Read a small text, UTF-8 or Latin-1.

    Raises
    ------
    InputError
        If it is no regular file, of more than `MAX_TEXT_BYTES`, or binary.
    """
    check_regular(path)
    with Path(path).open("rb") as file:
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise InputError(f"{path}: expected a text of at most {MAX_TEXT_BYTES} bytes, got more")
    if b"\0" in content:
        raise InputError(f"{path}: expected a text, got a binary file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
