"""Digest of the library code behind a rule (standard library only: the Snakefile imports it).

Snakemake's `code` trigger sees a rule's script, not the package that the script calls. Each rule
therefore names `code_digest("tubepet.<stage>.<module>")` as a param: a hash over the syntax trees
of that module and of every package module that it imports. Comments do not count; docstrings do.
Dynamic imports are not seen, so the package has none.
"""

import ast
import functools
import hashlib
import os
from pathlib import Path

PACKAGE_DIR = Path(__file__).parent


def _module_file(name: str) -> Path | None:
    base = PACKAGE_DIR.parent.joinpath(*name.split("."))
    candidates = (base.with_suffix(".py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _imported_names(tree: ast.AST) -> list[str]:
    """Package modules named by the import statements anywhere in a syntax tree."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tubepet":
            names += [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names += [a.name for a in node.names if a.name.split(".")[0] == "tubepet"]
    return names


@functools.cache
def _parsed(source: str) -> tuple[str, list[str]]:
    """Syntax tree as text, and the package modules imported; once per source, for all rules."""
    tree = ast.parse(source)
    return ast.dump(tree), _imported_names(tree)


@functools.cache
def code_digest(*modules: str) -> str:
    """Hash the code of `modules` and of all package modules that they import.

    Parameters
    ----------
    modules : str
        Dotted module names, for instance ``"tubepet.reconstruct.mlem"``.

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
        if _module_file(name) is None:
            raise ModuleNotFoundError(f"code_digest: no module {name} in {PACKAGE_DIR}")
    todo, seen = list(modules), {}
    while todo:
        name = todo.pop()
        path = _module_file(name)
        if path is None or name in seen:
            continue
        seen[name], imported = _parsed(path.read_text(encoding="utf-8"))
        todo += imported
    return hashlib.sha256("".join(seen[k] for k in sorted(seen)).encode()).hexdigest()[:12]


def share_package() -> None:
    """Let jobs in environments of their own (``--sdm conda``) import this package."""
    paths = [str(PACKAGE_DIR.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
