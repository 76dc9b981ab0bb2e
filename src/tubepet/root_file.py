"""Open ROOT files safely: uproot trusts the number of keys that a directory declares.

A directory is a list of keys behind their number (ROOT's TDirectoryFile). A key takes at least
`MIN_KEY_BYTES`. A file that declares more keys than its bytes can hold is damaged or hostile.
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


# uproot calls this before it reads the keys of a directory, nested ones included.
uproot.ReadOnlyDirectory.hook_before_keys = _check_keys


@contextmanager
def opened(path: str | os.PathLike[str], kind: str = "a whole ROOT file") -> Iterator[Any]:
    """Open a ROOT file; whatever goes wrong while it is open is an `InputError`.

    Parameters
    ----------
    path : path
    kind : str
        What was expected, as in `errors.reading`.
    """
    with reading(path, kind), uproot.open(path) as file:
        yield file
