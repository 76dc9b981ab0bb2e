"""The log of a job: file, console, uncaught exceptions, and progress of loops."""

import atexit
import logging
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from tubepet.errors import InputError, of_system
from tubepet.planned import check_code

log = logging.getLogger("tubepet")
EVERY_S = {True: 1, False: 60}  # between two signs of life, on a terminal and in a file
LINE = "{desc}: {n_fmt} of {total_fmt}, {elapsed} gone, {remaining} left"


class Bar(tqdm):
    """A progress bar on a terminal; where there is none, a line in the log now and then.

    Takes what tqdm takes.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.is_seen = sys.stderr.isatty()
        settings.setdefault("mininterval", EVERY_S[self.is_seen])
        super().__init__(*arguments, **settings)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Show the progress; a log gets no line before a loop begins or after it ends."""
        if self.is_seen:
            super().display(msg, pos)
        elif 0 < self.n < (self.total or float("inf")):
            log.info(self.format_meter(**{**self.format_dict, "bar_format": LINE}))


def start_log(path: str | Path) -> None:
    """Begin a job: send the package's log to `path` and to stderr, uncaught exceptions too.

    An `InputError` prints its one sentence; its traceback goes to the file only. The file's last
    line is the job's time in seconds.

    Raises
    ------
    InputError
        If the code differs from that with which the run was planned (`tubepet.planned`).
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
        elif isinstance(error, OSError) and (sentence := of_system(error)) is not None:
            print(f"error: {sentence}", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = report
    check_code()
