"""Which room may know which: a judge knows no contestant."""

import re

from tests.conftest import ROOT

CONTESTANTS = ("generate", "enhance", "features", "pretrain", "study")
IMPORT = re.compile(r"^\s*(?:from|import) tubepet(?:\.(\w+)| import (\w+))", re.M)


def test_drawing_data_set_and_evaluation_know_no_contestant() -> None:
    for room in ("phantom", "dataset", "evaluate"):
        for path in (ROOT / "src/tubepet" / room).glob("*.py"):
            known = {a or b for a, b in IMPORT.findall(path.read_text())}
            assert not known & set(CONTESTANTS), path
