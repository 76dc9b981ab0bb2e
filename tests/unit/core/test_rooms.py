"""Which subpackage may import which, and that every module that is named somewhere exists."""

import re
from graphlib import TopologicalSorter
from pathlib import Path

from tests.house import FILES, IMPORTS, ROOT, closure, is_there, room

# From the ground up: a room imports itself and those before it.
ROOMS = (
    "core", "plan", "phantom", "simulate", "reconstruct", "inspect", "pod", "formats", "dataset",
    "ct", "training", "pretrain", "features", "generate", "evaluate", "enhance", "study",
    "observers", "validate", "report", "cli",
)  # fmt: skip
CONTESTANTS = {"generate", "enhance", "features", "pretrain", "study"}
# Those of a package of its own, which that test makes.
INVENTED = Path("tests/unit/plan/test_provenance.py")
FOLDERS = ("src", "workflow", "tests", "benchmarks", "docs", "config", "profiles", "envs")
KINDS = {".py", ".smk", ".md", ".rst", ".html", ".yaml", ".sh", ""}
IMPORT = re.compile(r"\bfrom (tubepet[\w.]*) import (\([^)]*\)|[^(\n;]+)")
FILE = re.compile(r"\b(?:src|workflow|tests|benchmarks|config)/[\w./-]+\.\w+")
WORD = re.compile(r"\w+(?: as \w+)?")


def test_every_room_has_its_place():
    assert {room(name) for name in FILES} == set(ROOMS)


def test_no_module_imports_upwards():
    floor = {name: ROOMS.index(room(name)) for name in FILES}
    offenders = [f"{a} -> {b}" for a in FILES for b in IMPORTS[a] if floor[b] > floor[a]]
    assert not offenders, "\n".join(offenders)


def test_no_modules_import_each_other():
    assert list(TopologicalSorter(IMPORTS).static_order())  # a CycleError names the circle


def test_what_judges_knows_no_contestant():
    judges = [name for name in FILES if room(name) in ("phantom", "dataset", "evaluate")]
    offenders = [f"{a} -> {b}" for a in judges for b in closure([a]) if room(b) in CONTESTANTS]
    assert judges and not offenders, "\n".join(offenders)


def read(path: Path) -> str:
    """Return a text; programs in one line in lines, and without what diffs of a page add."""
    return re.sub(r"^\+.*\n", "", path.read_text(encoding="utf-8").replace("\\n", "\n"), flags=re.M)


def test_everything_of_the_package_that_a_text_names_exists():
    """Strings, documents and programs within tests too, which no type checker reads."""
    paths = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "Snakefile")]
    paths += [path for name in FOLDERS for path in (ROOT / name).rglob("*")]
    offenders, num_named = [], 0
    for path in paths:
        if path.suffix not in KINDS or not path.is_file() or path == ROOT / INVENTED:
            continue
        text = read(path)
        named = set(re.findall(r"\btubepet(?:\.[a-z]\w*)+", text))
        for module, members in IMPORT.findall(text):
            named |= {f"{module}.{re.split(' as ', name)[0]}" for name in WORD.findall(members)}
        num_named += len(named)
        offenders += [f"{path.relative_to(ROOT)}: {name}" for name in named if not is_there(name)]
    assert num_named > 1000
    assert not offenders, "\n".join(sorted(offenders))


def test_every_file_that_a_document_names_exists():
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    offenders = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in documents
        for name in FILE.findall(read(path))
        if not (ROOT / name).exists()
    ]
    assert not offenders, "\n".join(offenders)
