"""Check that jobs run the code with which their run was planned (standard library only).

Snakemake records a digest of the code when it plans (`tubepet.plan.provenance`). A job imports its
modules when it starts, maybe days later. If someone edits a module in between, the job's results
get the digest of other code. Once the edit is undone, nothing would make them again.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from tubepet.errors import InputError

PACKAGE_DIR = Path(__file__).parent
NAME = "TUBEPET_PLANNED"  # variable of the environment that jobs inherit


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def remember_code() -> None:
    """Put hashes of all modules into the environment, for jobs; an inner run keeps the outer's."""
    files = sorted(PACKAGE_DIR.rglob("*.py"))
    hashes = {str(path.relative_to(PACKAGE_DIR)): _hash(path) for path in files}
    os.environ.setdefault(NAME, json.dumps(hashes))


def check_code() -> None:
    """Refuse to begin a job whose modules are not those that its run was planned with.

    Raises
    ------
    InputError
        If the file of a module that is imported has changed, comments included.
    """
    planned = json.loads(os.environ.get(NAME, "{}"))
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    for name, content in planned.items():
        path = PACKAGE_DIR / name
        if str(path) in files and (not path.is_file() or _hash(path) != content):
            raise InputError(
                f"{path}: changed after this run was planned, expected the same code until its "
                "end: start Snakemake again"
            )
