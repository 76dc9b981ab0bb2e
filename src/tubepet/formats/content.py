"""Tell the format of a file by its first bytes, for its name may be wrong."""

import gzip
from pathlib import Path

from tubepet.errors import InputError, check_regular, reading
from tubepet.io import GZIP

HEAD_BYTES = 1 << 16
MARKS = {b"root": "root", b"PAR1": "table", b"yardl": "petsird"}
CASTOR_KEYS = ("data filename", "number of events")
SUFFIXES = {".root": "root", ".petsird": "petsird", ".cdh": "castor"}


def kind_of(path: Path) -> str:
    """Return ``root``, ``petsird``, ``castor`` (a header) or ``table`` (Parquet, text).

    A file without a known beginning is what its suffix says, so that its reader can tell what is
    wrong.

    Raises
    ------
    InputError
        If it is no file, is empty, or none of these.
    """
    data = head(path)
    if kind := next((kind for mark, kind in MARKS.items() if data.startswith(mark)), None):
        return kind
    keys = [b" ".join(line.partition(b":")[0].split()).lower() for line in data.splitlines()]
    if any(key.encode() in keys for key in CASTOR_KEYS):
        return "castor"
    if path.suffix.lower() in SUFFIXES:
        return SUFFIXES[path.suffix.lower()]
    if not data or b"\0" in data:
        raise InputError(
            f"{path}: got {'a binary' if data else 'an empty'} file of no known kind, expected "
            "ROOT, CASToR, PETSIRD, Parquet or a text table"
        )
    return "table"


def head(path: Path) -> bytes:
    """Return the first bytes of a file, after gunzip if it is packed."""
    check_regular(path)
    with path.open("rb") as file:
        data = file.read(HEAD_BYTES)
    if not data.startswith(GZIP):
        return data
    with reading(path, "a file that gzip can unpack"), gzip.open(path) as stream:
        return stream.read(HEAD_BYTES)
