"""A run ends with the code that it was planned with (standard library only).

Snakemake writes down a digest of the code when it plans (`tubepet.plan.provenance`); a job imports
its modules when it starts, maybe days later. If a module was edited in between, the job's results
would stand under the digest of other code, and stay for good once the edit is taken back.
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
    """Tell jobs what the modules are now; a run within a job keeps those of the outer run."""
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
