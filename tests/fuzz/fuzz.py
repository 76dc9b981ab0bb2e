"""Coverage-guided fuzzing of every reader: `make fuzz`, or `python -m tests.fuzz.fuzz --help`.

Each reader is fed by atheris (libFuzzer) in a process of its own, from small whole files that the
project's writers made. What counts as a fault: an exception that is no `InputError`, more than
10 s for one input, more than 1 GiB of memory, a file opened for writing outside of the input's
folder, a program started. The input that did it is kept, `crash-...`, beside what grew from it.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
LIMIT_S, LIMIT_MB, LIMIT_BYTES = 10, 1024, 1 << 16
INSTRUMENTED = [
    "jsonschema", "petsird", "pydicom", "torch._weights_only_unpickler", "tubepet.config",
    "tubepet.ct", "tubepet.formats", "tubepet.io", "tubepet.pretrain.checkpoint",
    "tubepet.report.turing", "tubepet.seals", "tubepet.simulate.coincidences", "uproot", "yaml",
]  # fmt: skip
STARTS = ("os.exec", "os.fork", "os.posix_spawn", "os.system", "socket.connect", "subprocess.Popen")


class Watch:
    """While on, writing outside a folder, starting a program or connecting raises an error."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.thread = folder.resolve(), 0
        sys.addaudithook(self._look)

    def __enter__(self) -> None:
        self.thread = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.thread = 0

    def _look(self, event: str, args: tuple[Any, ...]) -> None:
        if self.thread != threading.get_ident():
            return
        if event in STARTS:
            raise AssertionError(f"a file made its reader call {event}{args}")
        if event == "open" and isinstance(args[0], str) and set(str(args[1])) & set("wax+"):
            if not str(Path(args[0]).resolve()).startswith((str(self.folder), "/dev/null")):
                raise AssertionError(f"a file made its reader write {args[0]}")


def feed(reader: Any, folder: Path, watch: Watch, data: bytes) -> None:
    """Let the reader read this content; only `InputError` is allowed out of it."""
    from tubepet.errors import InputError

    path = folder / reader.name
    path.write_bytes(reader.pack(data))
    try:
        with watch:
            reader.read(path)
    except InputError:
        pass


def fuzz_one(name: str, corpus: Path, seconds: int, seed: int) -> None:
    """Fuzz one reader in this process; never returns."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.readers import READERS
    reader = READERS[name]
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (corpus / f"seed-{name}").write_bytes(reader.seed(folder))
    watch = Watch(folder)
    options = [f"-max_total_time={seconds}", f"-timeout={LIMIT_S}", f"-rss_limit_mb={LIMIT_MB}"]
    options += [f"-seed={seed}", f"-max_len={LIMIT_BYTES}", f"-artifact_prefix={corpus.parent}/"]
    options += ["-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([name, *options, str(corpus)], lambda data: feed(reader, folder, watch, data))
    atheris.Fuzz()


def number_after(text: str, key: str) -> int:
    """Last number that libFuzzer prints after a key; 0 if there is none."""
    found = re.findall(rf"{key}:?\s+(\d+)", text)
    return int(found[-1]) if found else 0


def fuzz_all(names: list[str], output: Path, seconds: int, seed: int) -> list[dict[str, Any]]:
    """Fuzz readers one after the other, each for so many seconds; print and return the table."""
    rows = []
    for name in names:
        corpus = output / name / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.fuzz.fuzz", "--one", name, "--seed", str(seed)]
        command += ["--seconds", str(seconds), "--output", str(output)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        (output / name / "log.txt").write_text(said)
        executions = number_after(said, "stat::number_of_executed_units")
        if executions == 0:  # it ended by a fault, without statistics
            executions = max([int(n) for n in re.findall(r"^#(\d+)", said, re.M)], default=0)
        row = {
            "reader": name,
            "executions": executions,
            "seconds": number_after(said, "runs in") or seconds,
            "peak_mb": number_after(said, "stat::peak_rss_mb"),
            "is_sound": done.returncode == 0,
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
        if done.returncode != 0:
            print(said[-3000:], flush=True)
    return rows


def main() -> None:
    """Read the command line, fuzz, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("readers", nargs="*", help="names in readers.py; default: all")
    parser.add_argument("--seconds", type=int, default=150, help="for each reader (%(default)s)")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "fuzz", help="(%(default)s)"
    )
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        corpus = given.output / given.readers[0] / "corpus"
        fuzz_one(given.readers[0], corpus, given.seconds, given.seed)
    from tests.fuzz.readers import READERS

    rows = fuzz_all(given.readers or list(READERS), given.output, given.seconds, given.seed)
    num, hours = sum(r["executions"] for r in rows), sum(r["seconds"] for r in rows) / 3600
    bad = [row["reader"] for row in rows if not row["is_sound"]]
    print(f"{num} executions in {hours:.2f} hours; faults: {', '.join(bad) or 'none'}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
