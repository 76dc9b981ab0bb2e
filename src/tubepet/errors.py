"""The one exception whose message users read, and the wording of other errors of files."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: the file or key, what it got, what was expected, and the unit.
    `tubepet.logs.start_log` prints it alone; the traceback goes to the log file.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(shown(sentence))


def shown(text: str) -> str:
    """Return a text that is safe to print: names in files can hold a terminal's control codes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def of_system(error: OSError) -> str | None:
    """Return one sentence on a file that the system refused; None if no file is known.

    Results always have a name (`tubepet.io.atomic`). If the disk is full and the error has no
    name, some library failed to write its temporary files.
    """
    if error.filename is not None:
        return shown(f"{error.filename}: {error.strerror}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{tempfile.gettempdir()}: {error.strerror}, expected room (or another TMPDIR)"
    if error.errno == errno.ENOENT:  # no folder for temporary files: Python lists those it tried
        return f"{error.strerror} (set TMPDIR to a folder with room)"
    return None


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse pipes and devices, which may never end."""
    if Path(path).exists() and not Path(path).is_file():
        raise InputError(f"{path}: expected a regular file, got a pipe, a device or a folder")


@contextmanager
def reading(path: str | os.PathLike[str], kind: str, remedy: str = "") -> Iterator[None]:
    """Turn whatever a library raises on damaged or hostile bytes into an `InputError`.

    Libraries raise many kinds of errors there, also undocumented ones. A missing or forbidden
    file keeps its own error. Pipes and devices are refused before.

    Parameters
    ----------
    path : path
        The file that is read.
    kind : str
        What was expected, for instance "a whole PNG".
    remedy : str
        What to do about it, if that is known.
    """
    check_regular(path)
    try:
        yield
    except (InputError, FileNotFoundError, PermissionError):
        raise
    except MemoryError as error:
        raise InputError(
            f"{path}: expected {kind} that fits into memory, got a larger one"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: expected {kind}, got a damaged file ({type(error).__name__}: {reason})"
            + f"; {remedy}" * bool(remedy)
        ) from error
