"""Limits on files from outside, checked before a reader spends memory or time on them.

A damaged or hostile file can declare any size. All readers of such files use these checks, which
raise `InputError`. A limit that only one reader needs stands in that reader.
"""

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from tubepet.errors import InputError, check_regular, reading

MAX_TEXT_BYTES = 2**20  # of a header or a description of a scanner
MAX_YAML_BYTES = 2**18  # the full config has 30 kB; PyYAML reads some 100 kB a second
MAX_JSON_BYTES = 2**25  # its objects need up to 20 times as much memory
MAX_NODES, MAX_DEPTH = 200_000, 100  # of YAML, with its aliases expanded
MOST_PER_PACKED_BYTE, MIN_UNPACKED_BYTES = 100, 1 << 24  # gzip packs numbers 2 to 5 times
MAX_MM = 1e5  # of a coordinate or size
MAX_CRYSTALS = 1_000_000  # of a scanner; whole-body scanners have up to half of that
MEMORY_SHARE = 0.5  # of the machine's, for the events of one file


def memory_bytes() -> float:
    """Return how many bytes of memory the events of one file may take."""
    return MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_memory(name: str | Path, need_bytes: float) -> None:
    """Refuse a file whose content does not fit into memory."""
    if need_bytes > (have_bytes := memory_bytes()):
        raise InputError(
            f"{name}: got events that need {need_bytes / 1e9:.3g} GB of memory, expected at most "
            f"{have_bytes / 1e9:.3g} GB, half of this machine's"
        )


def check_mm(name: object, what: str, values_mm: NDArray[np.floating]) -> None:
    """Refuse places and sizes that are not finite or exceed `MAX_MM`."""
    is_far = ~(np.abs(values_mm) <= MAX_MM)  # also NaN
    if is_far.any():
        raise InputError(
            f"{name}: {what}: got {values_mm[is_far][0]:g} mm, expected finite numbers of at most "
            f"{MAX_MM:g} mm"
        )


def check_num_crystals(name: str | Path, num: int) -> None:
    """Refuse a scanner without crystals, or of more than `MAX_CRYSTALS`."""
    if not 1 <= num <= MAX_CRYSTALS:
        raise InputError(f"{name}: got {num:.6g} crystals, expected 1 to {MAX_CRYSTALS}")


def is_file(path: Path) -> bool:
    """Whether a path is a file; False for a name that the system refuses as too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def check_bytes(path: str | os.PathLike[str], most: int) -> None:
    """Refuse pipes and devices, and files of more bytes than this."""
    check_regular(path)
    if (size := Path(path).stat().st_size) > most:
        raise InputError(f"{path}: got {size} bytes, expected at most {most}")


def check_unpacked(path: str | Path) -> None:
    """Refuse a gzip file that unpacks to more than a text can; only a piece is in memory."""
    left = max(MOST_PER_PACKED_BYTE * Path(path).stat().st_size, MIN_UNPACKED_BYTES)
    with gzip.open(path) as stream:
        while piece := stream.read(1 << 20):
            left -= len(piece)
            if left < 0:
                raise InputError(
                    f"{path}: unpacks to more than {MOST_PER_PACKED_BYTE} times its size, expected "
                    "a text table"
                )


def check_tree(name: object, content: Any) -> None:
    """Refuse nested lists and dicts with too many values or levels.

    A YAML alias puts one object in many places. A few lines of aliases can stand for more values
    than memory holds, once a program walks through all of them.
    """
    left, num = [(content, 0)], 0
    while left:
        one, depth = left.pop()
        inside = [*one.values()] if isinstance(one, dict) else one if isinstance(one, list) else []
        num += 1
        if num + len(left) + len(inside) > MAX_NODES or depth > MAX_DEPTH:
            raise InputError(
                f"{name}: got more than {MAX_NODES} values or {MAX_DEPTH} levels (aliases taken "
                "for what they stand for), expected fewer"
            )
        left += [(part, depth + 1) for part in inside]


def _check_nodes(path: str | Path, node: yaml.Node) -> None:
    """Do the same for YAML before it is built, since building copies merge keys (<<)."""
    sizes: dict[int, int] = {}

    def size(one: yaml.Node, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise InputError(f"{path}: got more than {MAX_DEPTH} levels of YAML, expected fewer")
        if id(one) not in sizes:
            values = one.value if isinstance(one, yaml.CollectionNode) else []
            parts = [p for v in values for p in (v if isinstance(v, tuple) else (v,))]
            sizes[id(one)] = 1 + sum(size(part, depth + 1) for part in parts)
        return sizes[id(one)]

    if size(node, 0) > MAX_NODES:
        raise InputError(
            f"{path}: got more than {MAX_NODES} values (aliases taken for what they stand for), "
            "expected fewer"
        )


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file within bounds.

    Raises
    ------
    InputError
        If it is no regular file, no YAML, or too large; see `MAX_YAML_BYTES`, `MAX_NODES`.
    """
    check_bytes(path, MAX_YAML_BYTES)
    with reading(path, "YAML"):
        loader = yaml.SafeLoader(Path(path).read_text(encoding="utf-8-sig"))
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_nodes(path, node)
            return loader.construct_document(node)
        finally:
            loader.dispose()


def read_text(path: str | Path) -> str:
    """Read a small text, UTF-8 or Latin-1.

    Raises
    ------
    InputError
        If it is no regular file, of more than `MAX_TEXT_BYTES`, or binary.
    """
    check_bytes(path, MAX_TEXT_BYTES)
    content = Path(path).read_bytes()
    if b"\0" in content:
        raise InputError(f"{path}: expected a text, got a binary file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
