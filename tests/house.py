"""The package as a graph: its modules, their imports, and their subpackages."""

import ast
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "tubepet"


def _name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = {name for name, path in FILES.items() if path.name == "__init__.py"}


def imported_by(source: str) -> set[str]:
    """Return the modules of the package that a source imports, wherever the statements stand."""
    found: set[str | None] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            members = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {member if member in FILES else node.module for member in members}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & FILES.keys()


def packages_of(source: str) -> set[str]:
    """Return the names that a source imports from elsewhere, without those of Python itself."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
    return found - sys.stdlib_module_names - {PACKAGE.name}


IMPORTS = {name: imported_by(path.read_text()) for name, path in FILES.items()}


def closure(names: Iterable[str]) -> set[str]:
    """Return modules and all that they import, directly or not."""
    seen, left = set(), list(names)
    while left:
        if (name := left.pop()) not in seen:
            seen.add(name)
            left += IMPORTS[name]
    return seen


def room(name: str) -> str:
    """Return the folder of a module; "core" for those that lie directly in the package."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else "core"


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or something that a module defines at its top level."""
    module, _, member = name.rpartition(".")
    if name in FILES or module not in FILES:
        return name in FILES
    defined = rf"^(?:(?:def|class) {member}\b|(?:\w+, )*{member}\b[\w, ]*[:=])"
    return re.search(defined, FILES[module].read_text(), re.M) is not None
