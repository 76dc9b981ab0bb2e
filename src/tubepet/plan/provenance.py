"""Digest of the library code behind a rule (standard library only: the Snakefile imports it).

Snakemake's `code` trigger sees a rule's script, not the package that the script calls. Each rule
therefore names `code_digest("tubepet.<stage>.<module>")` as a param: a hash over the bytecode of
that module and of every package module that it imports. Edited comments, docstrings and asserts do
not count. Dynamic imports are not seen, so the package has none. Every start of Snakemake computes
digests, on a cluster twice per job: bytecode is four times as fast to get as the text of syntax
trees.
"""

import functools
import hashlib
import marshal
import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import CodeType

from tubepet.planned import remember_code

PACKAGE_DIR = Path(__file__).parents[1]
IMPORT = re.compile(
    r"^[ \t]*(?:from (tubepet[\w.]*) import (\([^)]*\)|[^(\n]+)|import (tubepet[\w.]*))", re.M
)


def _module_file(name: str) -> Path | None:
    base = PACKAGE_DIR.parent.joinpath(*name.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _imported_names(source: str) -> list[str]:
    """Package modules, and names that may be modules, of the import statements of a source."""
    names: list[str] = []
    for module, members, whole in IMPORT.findall(source):
        names += [module or whole] + [f"{module}.{word}" for word in re.findall(r"\w+", members)]
    return names


def _without_lines(code: CodeType) -> CodeType:
    """Bytecode without its places in the file, which comments move."""
    constants = (_without_lines(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_consts=tuple(constants), co_firstlineno=1, co_linetable=b"")


@functools.cache
def _module(name: str) -> tuple[bytes, list[str]] | None:
    """Bytecode of a module, and the package modules it imports; None without such a file."""
    path = _module_file(name)
    if path is None:
        return None
    source = path.read_text(encoding="utf-8")
    code = _without_lines(compile(source, "", "exec", dont_inherit=True, optimize=2))
    # From version 3 on marshal's output depends on which objects happen to be shared.
    return marshal.dumps(code, 2), _imported_names(source)


@functools.cache
def code_digest(*modules: str) -> str:
    """Hash the code of `modules` and of all package modules that they import.

    Parameters
    ----------
    modules : str
        Dotted module names, for instance ``"tubepet.reconstruct.acquisition"``.

    Returns
    -------
    str
        First 12 hexadecimal digits of a SHA-256.

    Raises
    ------
    ModuleNotFoundError
        If a named module is not a file of this package.
    """
    for name in modules:
        if _module(name) is None:
            raise ModuleNotFoundError(f"code_digest: no module {name} in {PACKAGE_DIR}")
    return _digest(modules)


def digest_behind(script: Path) -> str:
    """Hash the package's code behind a script: modules that it imports, or all if it has none.

    Parameters
    ----------
    script : Path
        A Python file outside of the package.

    Returns
    -------
    str
        As `code_digest`.
    """
    every = (path.relative_to(PACKAGE_DIR.parent) for path in PACKAGE_DIR.rglob("*.py"))
    return _digest(
        _imported_names(script.read_text(encoding="utf-8"))
        or [".".join(path.with_suffix("").parts) for path in every]
    )


def _digest(names: Iterable[str]) -> str:
    """Hash modules and all that they import; a name that is no module counts for nothing."""
    todo, seen = list(names), {}
    while todo:
        name = todo.pop()
        if name not in seen and (found := _module(name)):
            seen[name], imported = found
            todo += imported
    return hashlib.sha256(b"".join(seen[k] for k in sorted(seen))).hexdigest()[:12]


def share_package() -> None:
    """Let jobs in conda environments (``--sdm conda``) import this package; remember its code."""
    remember_code()
    paths = [str(PACKAGE_DIR.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
