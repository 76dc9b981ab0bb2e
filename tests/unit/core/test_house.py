"""Limits on subpackages: entries, length of chains of imports, parameters, lines."""

import ast

import pytest
from tests.house import FILES, IMPORTS, PACKAGE, PACKAGES, ROOT

MAX_PARAMETERS = 6
MAX_COMMON_LINES = 250


def inside(folder: str) -> set[str]:
    """Return the modules of a folder, those of folders within it too; no `__init__`."""
    return {name for name in FILES if PACKAGE / folder in FILES[name].parents} - PACKAGES


def floors(names: set[str]) -> int:
    """Return the number of modules in the longest chain of imports among some."""
    above: dict[str, int] = {}

    def floor(name: str) -> int:
        if name not in above:
            above[name] = 1 + max((floor(other) for other in IMPORTS[name] & names), default=0)
        return above[name]

    return max(map(floor, names))


@pytest.mark.parametrize(
    ("folder", "max_entries", "max_floors"),
    [("reconstruct", 13, 6), ("generate", 13, 6), ("simulate", 6, 7)],
)
def test_a_room_is_seen_at_a_glance(folder, max_entries, max_floors):
    names = inside(folder)
    entries = {FILES[name].relative_to(PACKAGE / folder).parts[0] for name in names}
    assert len(entries) <= max_entries, sorted(entries)
    assert floors(names) <= max_floors


def test_functions_of_the_reconstruction_have_few_parameters():
    offenders = []
    for name in (one for one in inside("reconstruct") if not one.endswith(".kernels")):
        for node in ast.walk(ast.parse(FILES[name].read_text())):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                num = len([one for one in given if one.arg not in ("self", "cls")])
                offenders += [f"{name}.{node.name}: {num}"] * (num > MAX_PARAMETERS)
    assert not offenders, "\n".join(sorted(offenders))


def test_what_rules_share_is_short():
    common = (ROOT / "workflow/rules/common.smk").read_text()
    assert len(common.splitlines()) <= MAX_COMMON_LINES
