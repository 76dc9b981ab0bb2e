"""One log per job: a file, the console, and uncaught exceptions."""

import atexit
import logging
import sys
import time
from pathlib import Path
from types import TracebackType

from tubepet.errors import InputError

log = logging.getLogger("tubepet")


def start_log(path: str | Path) -> None:
    """Send the package's log to `path` and to stderr, uncaught exceptions too; last, the seconds.

    An `InputError` prints its one sentence; its traceback goes to the file only.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    to_file, to_console = logging.FileHandler(path, mode="w"), logging.StreamHandler()
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_console.setFormatter(logging.Formatter("%(message)s"))
    to_console.addFilter(lambda record: not getattr(record, "file_only", False))
    log.handlers[:] = [to_file, to_console]
    log.setLevel(logging.INFO)
    log.propagate = False
    start_s = time.monotonic()
    atexit.register(
        lambda: log.info("%.1f s", time.monotonic() - start_s, extra={"file_only": True})
    )

    def report(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        log.error("failed", exc_info=(kind, error, trace), extra={"file_only": True})
        if isinstance(error, InputError):
            print(f"error: {error}", file=sys.stderr)
        elif isinstance(error, OSError) and error.filename is not None:
            print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = report
