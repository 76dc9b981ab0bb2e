"""Jobs of tubes as forks of one process that has imported what they need (standard library only).

A tube's job works for about a second, and Python needs longer than that to import NumPy, SciPy,
Numba and the rest. So Snakemake's process starts another one, which imports the modules of the
jobs' scripts and then waits. For each job it loads what earlier jobs have compiled, half a second
of each of them otherwise, and forks. The fork runs the job's script, as ``python script`` would,
and ends. All that Snakemake does before and after a job stays as it is.

When that process cannot start, or is killed, the next job runs in the ordinary way. Forks at work
go on, and tell Snakemake themselves how they ended.
"""

import ast
import atexit
import contextlib
import importlib
import io
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tubepet.planned import check_code

PID = struct.Struct("q")
LARGEST_REQUEST = 1 << 16  # bytes
KILLED = 137  # what a shell says of a process that ended by SIGKILL
END_S = 1  # a process whose pipe is closed has ended by then
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


class Job:
    """A script that runs in a fork.

    Attributes
    ----------
    pid : int
        Of the fork.
    """

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid, self._pipe = pid, pipe

    def wait(self) -> int:
        """Wait until the script has ended; return its exit code."""
        with os.fdopen(self._pipe, "rb") as pipe:
            code = pipe.read(1)
        return code[0] if code else KILLED


class Forks:
    """The process that has imported all, as Snakemake's process sees it.

    Parameters
    ----------
    scripts : sequence of Path
        Whose import statements it carries out.
    """

    def __init__(self, scripts: Sequence[Path]) -> None:
        self._scripts = scripts
        self._lock = threading.Lock()  # Snakemake starts jobs from several threads
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """Let the process end; forks go on."""
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait()
        self._control = None

    def start(self, script: str, environment: Mapping[str, str]) -> Job | None:
        """Run a script in a fork; None if there is no process to fork from.

        Parameters
        ----------
        script : str
            Path.
        environment : mapping
            Variables that the script gets besides those of this process.

        Raises
        ------
        KeyboardInterrupt
            If Ctrl-C ended the process before it could fork.
        """
        request = json.dumps([str(Path(script).absolute()), dict(environment)]).encode()
        pipe, status = os.pipe()
        with self._lock:
            try:
                self._control = self._control or self._begin()
                socket.send_fds(self._control, [request], [status])
            except OSError:  # it was killed; the next job starts another
                self.close()
            os.close(status)
            process = self._process
        if pid := os.read(pipe, PID.size):  # nothing: it could not import, or check, the modules
            return Job(PID.unpack(pid)[0], pipe)
        os.close(pipe)
        with contextlib.suppress(subprocess.TimeoutExpired):
            if process is not None and process.wait(END_S) == -signal.SIGINT:
                raise KeyboardInterrupt  # while it imported; the job must not run all the same
        return None

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # -P: a numpy.py in the folder of the run is not for jobs
        command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno())]
        command += map(str, self._scripts)
        environment = {**os.environ, **ONE_THREAD}
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment)
        return ours


def import_all(scripts: Sequence[Path]) -> None:
    """Import what the import statements at the top of some scripts name."""
    for script in scripts:
        for node in ast.parse(script.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    importlib.import_module(alias.name)
            elif isinstance(node, ast.ImportFrom):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


def rehearse() -> None:
    """Let Numba and Matplotlib do what they put off until their first use."""
    if "numba" in sys.modules:
        import numba

        numba.njit("float64(float64)")(lambda x: x)
    if "matplotlib.figure" in sys.modules:
        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().set_title("x")
        figure.savefig(io.BytesIO(), format="png")


class Kernels:
    """The compiled functions of all imported modules of ours."""

    def __init__(self) -> None:
        self._all: list[Any] = []
        self._loaded: dict[Path, int] = {}  # when the index of a kernel's cache was written, ns
        if "numba" in sys.modules:
            from numba.core.dispatcher import Dispatcher

            ours = [m for name, m in sys.modules.items() if name.startswith("tubepet.")]
            found = [k for m in ours for k in vars(m).values() if isinstance(k, Dispatcher)]
            self._all = [k for k in found if k.stats.cache_path is not None]

    def load(self) -> None:
        """Load what is new in Numba's cache; no public function of Numba does it for all types."""
        for kernel in self._all:
            cache, codegen = kernel._cache, kernel.targetctx.codegen()
            index = Path(cache._cache_file._index_path)
            written_ns = index.stat().st_mtime_ns if index.exists() else 0
            if written_ns == self._loaded.get(index, 0):
                continue
            self._loaded[index] = written_ns
            for key in cache._cache_file._load_index():
                if key == cache._index_key(key[0], codegen):  # not those of another processor
                    kernel.compile(key[0])


def serve(control: socket.socket) -> None:
    """Fork for every request, until the other end is closed; forks return from here when done."""
    kernels = Kernels()
    # Ctrl-C is for the jobs and for Snakemake
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks tell Snakemake, not this process
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, LARGEST_REQUEST, 1)
        if not request:
            return
        kernels.load()
        with warnings.catch_warnings():  # PyArrow's allocator has a thread, made for forks
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            control.close()
            signal.signal(signal.SIGINT, on_interrupt)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _run(*json.loads(request), *descriptors)
            return
        os.close(*descriptors)


def _run(script: str, environment: dict[str, str], status: int) -> None:
    """Run a script as the main program, and say how it ended after all that it does at its end."""
    code = 1
    atexit.register(lambda: os.write(status, bytes([code & 0xFF])))
    os.write(status, PID.pack(os.getpid()))
    os.environ.update(environment)
    with contextlib.suppress(OSError):  # Linux: top and ps show the rule
        Path("/proc/self/comm").write_text(Path(script).stem.partition(".")[2])
    sys.argv = [script]
    try:
        runpy.run_path(script, run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise


if __name__ == "__main__":
    import_all([Path(name) for name in sys.argv[2:]])
    check_code()
    rehearse()
    serve(socket.socket(fileno=int(sys.argv[1])))
