"""Checksums for result files whose format has none, so that a damaged file is refused.

NIfTI (gzip), PNG and PyTorch's zip carry a CRC. JSON, `.npy`, ROOT, Parquet and safetensors do not.
When such a file is written, its SHA-256 (the seal) goes where other programs ignore it: after the
last byte (`.npy`, ROOT), before the footer (Parquet), as the last key (JSON), or in the metadata
(safetensors). CSV has no such place: a hidden file beside it has the sum, as `sha256sum` writes it.
A file without a seal is read unchecked: it comes from elsewhere, or an editor removed the seal.
"""

import hashlib
import json
import os
import re
from pathlib import Path

from tubepet.errors import InputError, check_regular

RESULTS = "results"  # the folder of what rules make
MARK = b"\nsha256 "
NUM_TRAILER = len(MARK) + 64 + 1
JSON_END = b"\n}\n"
JSON_SEAL = re.compile(rb',\n  "sha256": "([0-9a-f]{64})"\n}\n\Z')


def seal(path: Path) -> None:
    """Put the checksum into a file that was just written; other formats stay as they are."""
    if path.suffix in (".npy", ".root"):
        with open(path, "ab") as file:
            file.write(MARK + _sum_of_first(path, path.stat().st_size) + b"\n")
    elif path.suffix == ".parquet":
        data = path.read_bytes()
        start = _footer_start(data)
        trailer = MARK + hashlib.sha256(data).hexdigest().encode() + b"\n"
        path.write_bytes(data[:start] + trailer + data[start:])
    elif path.suffix == ".json":
        data = path.read_bytes()
        if data.endswith(JSON_END):
            body, digest = data[: -len(JSON_END)], hashlib.sha256(data).hexdigest()
            path.write_bytes(body + f',\n  "sha256": "{digest}"'.encode() + JSON_END)
    elif path.suffix == ".safetensors":
        header, body = _split(path.read_bytes())
        header.setdefault("__metadata__", {})["sha256"] = _sum_of_tensors(header, body)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)  # the format aligns its tensors to 8 bytes
        path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    elif path.suffix == ".csv":
        beside(path).write_text(f"{of_file(path)}  {path.name}\n")


def of_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def beside(path: Path) -> Path:
    """Where the checksum of a CSV table lies."""
    return path.with_name(f".{path.name}.sha256")


def check(path: str | os.PathLike[str]) -> None:
    """Raise `InputError` if the file has a seal that does not fit its content."""
    check_regular(path)
    path = Path(path)
    if path.suffix in (".npy", ".root"):
        num_bytes = path.stat().st_size - NUM_TRAILER
        if num_bytes < 0:
            return
        with open(path, "rb") as file:
            file.seek(num_bytes)
            trailer = file.read()
        if trailer.startswith(MARK):
            expected = trailer[len(MARK) : -1].decode("ascii", "replace")
            _compare(path, _sum_of_first(path, num_bytes).decode(), expected)
    elif path.suffix == ".parquet":
        data = path.read_bytes()
        start = _footer_start(data)
        first, trailer = data[: start - NUM_TRAILER], data[start - NUM_TRAILER : start]
        if trailer.startswith(MARK):
            expected = trailer[len(MARK) : -1].decode("ascii", "replace")
            _compare(path, hashlib.sha256(first + data[start:]).hexdigest(), expected)
    elif path.suffix == ".json":
        data = path.read_bytes()
        if found := JSON_SEAL.search(data):
            whole = hashlib.sha256(data[: found.start()] + JSON_END).hexdigest()
            _compare(path, whole, found.group(1).decode())
    elif path.suffix == ".safetensors":
        try:
            header, body = _split(path.read_bytes())
            expected_or_none = header.get("__metadata__", {}).get("sha256")
            got = _sum_of_tensors(header, body)
        except (ValueError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: expected safetensors, got a damaged file") from error
        if expected_or_none is not None:
            _compare(path, got, expected_or_none)
    elif path.suffix == ".csv" and beside(path).is_file():
        expected = beside(path).read_text(errors="replace")[:64]
        _compare(path, of_file(path), expected)


def _compare(path: Path, got: str, expected: str) -> None:
    if got != expected:
        todo = remedy(path)
        raise InputError(
            f"{path}: got a damaged file, its content does not fit the SHA-256 written with it"
            + f" ({todo})" * bool(todo)
        )


def remedy(path: Path) -> str:
    """Say what to delete so that a rule makes a damaged file again: of a link, the cache's entry.

    "" for a file outside of a folder `results`, which no rule makes.
    """
    if RESULTS not in path.absolute().parts:
        return ""
    if path.is_symlink():
        return f"it comes from a cache: delete {path.resolve()} to have it made again"
    return "delete it to have it made again"


def _sum_of_first(path: Path, num_bytes: int) -> bytes:
    """SHA-256 of the first bytes of a file, in hexadecimal digits."""
    whole, left = hashlib.sha256(), num_bytes
    with open(path, "rb") as file:
        while piece := file.read(min(left, 1 << 20)):
            whole.update(piece)
            left -= len(piece)
    return whole.hexdigest().encode()


def _footer_start(data: bytes) -> int:
    """Where the footer of a Parquet file begins; 0 if its length makes no sense."""
    return max(len(data) - 8 - int.from_bytes(data[-8:-4], "little"), 0)


def _split(data: bytes) -> tuple[dict[str, dict[str, str]], bytes]:
    """Header and tensors of a safetensors file."""
    start = 8 + int.from_bytes(data[:8], "little")
    if start > len(data):
        raise ValueError("cut header")
    return json.loads(data[8:start]), data[start:]


def _sum_of_tensors(header: dict[str, dict[str, str]], body: bytes) -> str:
    tensors = {key: value for key, value in header.items() if key != "__metadata__"}
    return hashlib.sha256(json.dumps(tensors, sort_keys=True).encode() + body).hexdigest()
