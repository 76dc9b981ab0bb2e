"""The visual Turing test in a browser: one reader is always right, one always says "real"."""

import numpy as np
import pytest

from tests.browser.fixtures import url
from tests.conftest import ROOT
from tubepet.report import turing


def game(tmp_path, num_real: int):
    """Write a page of small images; return its path and its key."""
    rng = np.random.default_rng(3)
    sizes = (30, num_real, 30, 30)
    train, test, vae, surrogate = (rng.random((num, 16, 16), np.float32) for num in sizes)
    template = (ROOT / "workflow/report/turing.html").read_text()
    page, key = turing.make_page(template, train, test, {"vae": vae, "surrogate": surrogate}, 7)
    path = tmp_path / "turing.html"
    path.write_text(page)
    return path, key


def answer_all(tab, answers: list[bool], by_mouse: bool) -> None:
    for i, said_generated in enumerate(answers):
        tab.wait_for_selector(f'#trial[aria-busy="false"] #progress[value="{i}"]')
        if by_mouse:
            tab.click("#generated" if said_generated else "#real")
        else:
            tab.keyboard.press(["s", "ArrowLeft", "g", "ArrowRight"][2 * said_generated + i % 2])
    tab.wait_for_selector("#result:not([hidden])")


def download(tab, folder):
    with tab.expect_download() as waiting:
        tab.click("#download")
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def test_played_by_keyboard_alone(tab, tmp_path, serious_findings):
    path, key = game(tmp_path, 40)
    tab.goto(url(path))
    assert serious_findings(tab) == []
    tab.keyboard.press("Tab")
    tab.keyboard.type("reader-1")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.wait_for_selector('#trial[aria-busy="false"]')
    assert serious_findings(tab) == []
    truth = list(key["source"] != turing.REAL)
    answer_all(tab, truth, by_mouse=False)
    assert serious_findings(tab) == []
    assert "50 of 50 right: 100 % [93 %, 100 %]" in tab.inner_text("#accuracy")
    result = turing.read_answers(download(tab, tmp_path))  # the checksum of the page holds here
    answers = turing.pool({path: result}, key)
    assert result["reader"] == "reader-1"
    assert answers["is_right"].all() and (answers["time_s"] < 60).all()


def test_played_by_mouse(tab, tmp_path):
    path, key = game(tmp_path, 6)
    tab.goto(url(path))
    tab.click("#start")
    answer_all(tab, [False] * len(key), by_mouse=True)
    assert "6 of 12 right: 50 % [25 %, 75 %]" in tab.inner_text("#accuracy")
    assert "Not distinguishable from guessing" in tab.inner_text("#meaning")
    rows = [row.split("\t")[:4] for row in tab.inner_text("#rows").splitlines()]
    counts = key["source"].value_counts()
    expected = [
        [shown, str(counts[name]), str(counts[name]), "0"]
        for name, shown in (("real", "held-out simulated"), ("vae", "vae"), ("surrogate",) * 2)
    ]
    assert rows == expected
    result = turing.read_answers(download(tab, tmp_path))
    scores = turing.score(turing.pool({path: result}, key), 0)
    assert scores["all"]["accuracy"] == 0.5
    assert (scores["all"]["low"], scores["all"]["high"]) == pytest.approx((0.254, 0.746), abs=1e-3)
