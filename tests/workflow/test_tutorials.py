"""The tutorials, run as they stand, on copies of the smoke run."""

import pytest

from tests import documents
from tests.workflow.conftest import ROOT

pytestmark = pytest.mark.workflow

TUTORIALS = sorted(p for p in (ROOT / "docs/tutorials").glob("*.md") if p.stem != "index")


def test_there_are_nine():
    assert len(TUTORIALS) == 9
    index = (ROOT / "docs/tutorials/index.md").read_text()
    assert all(f"({page.name})" in index for page in TUTORIALS)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda p: p.stem)
def test_a_tutorial_does_what_it_says(copy, tmp_path, monkeypatch, page):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    folder = tmp_path / "reader"
    folder.mkdir()
    path = documents.reader_folder(folder, copy)
    found = documents.steps(page)
    assert found and all(step.printed for step in found), "a command without its last lines"
    for step in found:
        documents.run(step, folder, path)
