"""The page of speeds is written from the measured lines, and says which are of older code."""

import importlib.util
import re
import sys

import pytest
from tests.conftest import ROOT


@pytest.fixture
def record():
    spec = importlib.util.spec_from_file_location("record", ROOT / "benchmarks/record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(name: str, ratio: float, peer: str, **more: str) -> dict[str, object]:
    facts = {"target": 2, "unit": "times", "machine": "AMD, AVX2, 2 cores", "commit": "abc1234"}
    return {"name": name, "ratio": ratio, "peer": peer, **facts, **more}


def test_the_last_line_of_each_peer_is_shown_and_older_code_is_marked(record):
    today = record.digest_behind(ROOT / "benchmarks/mlem.py")
    page = record.page(
        [
            line("b", 1, "one"),
            line("b", 3.14159, "one", script="mlem.py", code=today),
            line("b", 5, "other", script="mlem.py", code="of another day"),
            line("a", 7, "one"),
            line("c", 8, "one", script="gone.py", code=today),
        ]
    )
    rows = re.findall(r"^\| `(\w)` \| (\S+) \|.* \| (\w+) \| (\w+) \|$", page, re.M)
    assert rows == [
        ("a", "7", "abc1234", "older"), ("b", "3.14", "abc1234", "same"),
        ("b", "5", "abc1234", "older"), ("c", "8", "abc1234", "older"),
    ]  # fmt: skip


def test_a_line_says_of_which_code_it_is(record, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks/mlem.py")])
    record.record("mlem", 3.0, 2.0, "times", "another", wall_s=0.5)
    (kept,) = record.read_lines()
    assert (kept["script"], kept["wall_s"]) == ("mlem.py", 0.5)
    assert kept["code"] == record.digest_behind(ROOT / "benchmarks/mlem.py")
    assert kept["name"] in capsys.readouterr().out


def test_the_page_is_that_of_the_measured_lines(record):
    assert record.PAGE.read_text(encoding="utf-8") == record.page(
        record.read_lines()
    )  # `make reference`


def test_readme_tells_the_minutes_that_the_last_whole_run_took(record):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = re.search(r"in about (\d+) minutes on two cores", readme)
    runs = [row["ratio"] for row in record.read_lines() if row["name"] == "default_run"]
    assert float(told[1]) == pytest.approx(runs[-1], rel=0.1)  # "about"
