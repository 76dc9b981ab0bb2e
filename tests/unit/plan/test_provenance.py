import ast
import os
import shutil
import subprocess
import sys

import pytest

from tubepet.plan import provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a tiny package: a imports b, c stands alone."""
    folder = tmp_path / "tubepet"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text("from tubepet import b\n")
    (folder / "b.py").write_text('"""Words."""\n\nX = 1\n')
    (folder / "c.py").write_text("Y = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE_DIR", folder)
    forget()
    yield folder
    forget()
    shutil.rmtree(folder)


def forget() -> None:
    provenance.code_digest.cache_clear()
    provenance._module.cache_clear()


def digest(name: str) -> str:
    forget()
    return provenance.code_digest(name)


def test_an_edit_in_an_imported_module_changes_the_digest_and_words_do_not(package):
    before, other = digest("tubepet.a"), digest("tubepet.c")
    (package / "b.py").write_text('"""Others."""\n# why\n\nX = 1  # so\n')
    assert digest("tubepet.a") == before
    (package / "b.py").write_text('"""Others."""\n\nX = 2\n')
    assert digest("tubepet.a") != before
    assert digest("tubepet.c") == other


def test_imports_are_those_of_the_syntax_tree():
    paths = sorted(provenance.PACKAGE_DIR.rglob("*.py"))
    offenders = []
    for path in paths:
        source = path.read_text()
        expected: set[str] = set()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tubepet":
                expected |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                expected |= {a.name for a in node.names if a.name.split(".")[0] == "tubepet"}
        found = set(provenance._imported_names(source))
        offenders += [f"{path}: not seen: {name}" for name in expected - found]
        made_up = (name for name in found - expected if provenance._module_file(name))
        offenders += [f"{path}: made up: {name}" for name in made_up]
    assert len(paths) > 150
    assert not offenders, "\n".join(offenders)


def test_a_digest_does_not_hang_on_the_order_of_hashes_or_on_switches():
    command = (
        "from tubepet.plan.provenance import code_digest; "
        "print(code_digest('tubepet.generate.loop'))"
    )
    printed = {
        subprocess.run(
            [sys.executable, *switches, "-c", command], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for switches, seed in (((), "1"), (("-O",), "2"), (("-OO",), "3"))
    }  # fmt: skip
    assert len(printed) == 1


def test_an_unknown_module_is_an_error(package):
    with pytest.raises(ModuleNotFoundError, match=r"tubepet\.nowhere"):
        digest("tubepet.nowhere")


def test_the_code_behind_a_script_is_what_it_imports_or_all(package, tmp_path):
    def behind(source: str) -> str:
        forget()
        (tmp_path / "script.py").write_text(source)
        return provenance.digest_behind(tmp_path / "script.py")

    some, every = behind("from tubepet.a import X\n"), behind("import sys\n")
    assert some == digest("tubepet.a") != every
    (package / "c.py").write_text("Y = 2\n")
    assert behind("from tubepet.a import X\n") == some
    assert behind("import sys\n") != every
