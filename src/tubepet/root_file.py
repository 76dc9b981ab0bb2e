"""ROOT files within bounds: uproot believes what a directory says of its length.

A directory is a list of keys behind their number (ROOT's TDirectoryFile). A key takes
`MIN_KEY_BYTES` at least, so more of them than its bytes can hold are a damaged or hostile file.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uproot

from tubepet.errors import reading

MIN_KEY_BYTES = 29  # 26 of numbers and the lengths of three names


def _check_keys(_: Any, *, keys_chunk: Any, keys_cursor: Any, num_keys: int, **__: Any) -> None:
    most = (keys_chunk.stop - keys_cursor.index) // MIN_KEY_BYTES
    if num_keys > most:
        raise ValueError(f"a directory of {num_keys} keys in bytes of at most {most}")


# What uproot calls before it reads them, for directories within others too.
uproot.ReadOnlyDirectory.hook_before_keys = _check_keys


@contextmanager
def opened(path: str | os.PathLike[str], kind: str = "a whole ROOT file") -> Iterator[Any]:
    """Open a ROOT file; whatever goes wrong while it is open is an `InputError`.

    Parameters
    ----------
    path : path
    kind : str
        What was expected, as of `errors.reading`.
    """
    with reading(path, kind), uproot.open(path) as file:
        yield file
