import shutil

import pytest

from tubepet import provenance


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Make a tiny package: a imports b, c stands alone."""
    folder = tmp_path / "tubepet"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "a.py").write_text("from tubepet import b\n")
    (folder / "b.py").write_text("X = 1\n")
    (folder / "c.py").write_text("Y = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE_DIR", folder)
    provenance.code_digest.cache_clear()
    yield folder
    provenance.code_digest.cache_clear()
    shutil.rmtree(folder)


def digest(name: str) -> str:
    provenance.code_digest.cache_clear()
    return provenance.code_digest(name)


def test_an_edit_in_an_imported_module_changes_the_digest_and_a_comment_does_not(package):
    before, other = digest("tubepet.a"), digest("tubepet.c")
    (package / "b.py").write_text("X = 1  # why\n")
    assert digest("tubepet.a") == before
    (package / "b.py").write_text("X = 2\n")
    assert digest("tubepet.a") != before
    assert digest("tubepet.c") == other


def test_an_unknown_module_is_an_error(package):
    with pytest.raises(ModuleNotFoundError, match=r"tubepet\.nowhere"):
        digest("tubepet.nowhere")
