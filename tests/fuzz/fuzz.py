"""Coverage-guided fuzzing of every reader: `make fuzz`, or `python -m tests.fuzz.fuzz --help`.

Atheris (libFuzzer) feeds each reader in a process of its own. It starts from small whole files of
the project's writers, and from words that often cause trouble. Faults are: a crash; an exception
that is no `InputError`; a message that cannot be printed; an accepted number that is not finite or
no length; more than 10 s of CPU or 1 GiB of memory for an input; a file opened for writing outside
of the input's folder; a started program. The input is kept as `crash-...`, beside the corpus.
"""

import argparse
import contextlib
import io as streams
import json
import os
import random
import re
import sys
import tempfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parents[2]
NUMBERS_EVERY = 5  # changes: one puts a word in the place of a number, the others are libFuzzer's
LIMIT_S, LIMIT_MB, LIMIT_BYTES = 10, 1024, 1 << 16
LONGEST = 64  # bytes that libFuzzer takes for a word
PATIENCE = 10  # LIMIT_S is of CPU; of the clock so many times more, for a machine with other work
INSTRUMENTED = ["jsonschema", "petsird", "pydicom", "tubepet", "uproot", "yaml"]
NESTED = "[" * 5000 + "]" * 5000
LEVELS = "".join(f"&{b} [{','.join([f'*{a}'] * 9)}]," for a, b in pairwise("abcdefghi"))
BOMB = f"[&a [0,0,0,0,0,0,0,0,0],{LEVELS}]"  # 9^9 numbers in a line
WORDS = (
    b"nan", b".nan", b"NaN", b"Infinity", b"1e300", b"-1e9", b"-1", b"0", b"999999999", b"&a [*a]",
    b"&b {<<: *b}", BOMB.encode(), NESTED.encode(), b'"\\ud800"', b"\x1b[2J", b"\xff\xff\xff\x7f",
    b"\x00\x00\xc0\x7f", b"\x00\x00\x00\x00\x00\x00\xf8\x7f", b"\x9c\x75\x00\x88\x3c\xe4\x37\x7e",
)  # fmt: skip
COMPILED = ["tubepet.reconstruct.projection.kernels"]  # by numba, from bytecode as it is
NUMBER = re.compile(rb"-?\d+(?:\.\d*)?(?:e[-+]?\d+)?")
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
    """Let the reader read this content; an `InputError` or sound numbers may come out of it."""
    from tests.fuzz.readers import check_numbers
    from tubepet.errors import InputError

    path = folder / reader.name
    path.write_bytes(reader.pack(data))
    begin_s = time.process_time()
    try:
        with watch:
            made = reader.read(path)
    except InputError as error:
        if not str(error).isprintable():
            raise AssertionError(f"no terminal shows this sentence: {error!a}") from error
    else:
        check_numbers(made)
    if (took_s := time.process_time() - begin_s) > LIMIT_S:
        raise AssertionError(f"a file took {took_s:.1f} s of CPU, expected at most {LIMIT_S}")


def in_place_of_a_number(data: bytes, most: int, seed: int) -> bytes:
    """Put a word in the place of one number of a text; without numbers, before all.

    Lengths are kept by spaces where they can be: a header may announce them.
    """
    rng = random.Random(seed)
    places = [found.span() for found in NUMBER.finditer(data)] or [(0, 0)]
    start, end = rng.choice(places)
    word = rng.choice(WORDS).ljust(end - start)
    longer = b" " * (len(word) - (end - start))
    return (data[:start] + word + data[end:].replace(longer, b"", 1))[:most]


def fuzz_one(reader: Any, name: str, output: Path, seconds: int, seed: int) -> None:
    """Fuzz one reader in this process, which ends with it; what is said goes to log.txt."""
    import atheris

    folder, corpus = Path(tempfile.mkdtemp(prefix="fuzz-")), output / name / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / f"seed-{name}").write_bytes(reader.seed(folder))
    log = os.open(output / name / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    watch = Watch(folder)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={PATIENCE * LIMIT_S}",
        f"-rss_limit_mb={LIMIT_MB}",
    ]
    options += [f"-seed={seed}", f"-max_len={LIMIT_BYTES}", f"-artifact_prefix={output / name}/"]
    options += ["-len_control=0"]  # or words are cut until inputs have grown
    words = output / name / "words.txt"
    quoted = ("".join(map("\\x{:02x}".format, word)) for word in WORDS if len(word) < LONGEST)
    words.write_text("".join(f'"{word}"\n' for word in quoted))
    options += ["-print_final_stats=1", f"-dict={words}"]

    def change(data: bytes, most: int, seed: int) -> bytes:
        if seed % NUMBERS_EVERY == 0:
            return in_place_of_a_number(data, most, seed)
        changed: bytes = atheris.Mutate(data, most)
        return changed

    atheris.Setup(
        [name, *options, str(corpus)],
        lambda data: feed(reader, folder, watch, data),
        custom_mutator=change,
    )
    atheris.Fuzz()


def fuzz_all(names: list[str], output: Path, seconds: int, seed: int) -> list[dict[str, Any]]:
    """Fuzz readers one after the other, each for so many seconds; print and return the table."""
    import atheris

    with (
        contextlib.redirect_stderr(streams.StringIO()),  # a line per module
        atheris.instrument_imports(include=INSTRUMENTED, exclude=COMPILED),
    ):
        from tests.fuzz.readers import READERS
    rows = []
    for name in names or READERS:
        child = os.fork()
        if child == 0:
            fuzz_one(READERS[name], name, output, seconds, seed)
        _, status, used = os.wait4(child, 0)
        said = (output / name / "log.txt").read_text(errors="replace")
        numbers = [int(number) for number in re.findall(r"^#(\d+)", said, re.M)]
        numbers += [int(n) for n in re.findall(r"number_of_executed_units: *(\d+)", said)]
        row = {
            "reader": name,
            "executions": max(numbers, default=0),
            "cpu_s": round(used.ru_utime + used.ru_stime, 1),
            "peak_mb": used.ru_maxrss // 1024,
            "is_sound": status == 0,
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
        if status != 0:
            print(said[-3000:], flush=True)
    return rows


def main() -> None:
    """Read the command line, fuzz, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("readers", nargs="*", help="names in readers.py; default: all")
    parser.add_argument("--seconds", type=int, default=150, help="for each reader (%(default)s)")
    parser.add_argument("--seed", type=int, default=2020, help="(%(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "fuzz", help="corpora")
    given = parser.parse_args()
    rows = fuzz_all(given.readers, given.output, given.seconds, given.seed)
    num, hours = sum(r["executions"] for r in rows), sum(r["cpu_s"] for r in rows) / 3600
    bad = [row["reader"] for row in rows if not row["is_sound"]]
    print(f"{num} executions in {hours:.2f} hours of CPU; faults: {', '.join(bad) or 'none'}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
