import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tubepet.cli import main
from tubepet.errors import InputError
from tubepet.report import turing


def result(path: Path, answers: list[list[int]], **changes: object) -> Path:
    """Write a result as the page does."""
    content: dict[str, object] = {
        "format": turing.FORMAT, "page": "p", "reader": path.stem, "session": path.stem,
        "started": "2026-01-01T00:00:00Z", "sources": ["real", "vae", "surrogate"],
        "trials": answers,
    } | changes  # fmt: skip
    text = json.dumps(list(content.values()), separators=(",", ":"))
    path.write_text(json.dumps(content | {"checksum": zlib.crc32(text.encode())}))
    return path


ANSWERS = [[0, 0, 1000], [1, 1, 2000], [0, 1, 3000], [2, 0, 5000]]  # right, right, wrong, wrong


def test_trials_are_balanced_and_unique_and_a_matter_of_the_seed():
    samples = {"a": 30, "b": 30, "c": 30}
    first, again, other = (
        turing.choose_trials(40, samples, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    counts = first["source"].value_counts()
    assert len(first) == 50 and counts["real"] == 25 and set(counts[["a", "b", "c"]]) == {8, 9}
    assert not first.duplicated().any()
    pd.testing.assert_frame_equal(first, again)
    assert list(first["source"]) != list(other["source"])
    assert first.groupby("source")["i_image"].max().le(39).all() and first["i_image"].min() >= 0


def test_few_images_make_few_trials():
    table = turing.choose_trials(40, {"a": 3, "b": 9}, np.random.default_rng(1))
    assert table["source"].value_counts().to_dict() == {"real": 6, "a": 3, "b": 3}


def test_wilson_as_published():
    # Newcombe, Stat. Med. 17 (1998) 857, Table I: 81 of 263, 0 of 20
    assert turing.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert turing.wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)


def test_the_page_hides_the_truth_and_the_key_tells_it():
    rng = np.random.default_rng(0)
    test, one, two = (rng.random((40, 8, 8), np.float32) for _ in range(3))
    page, key = turing.make_page("{{ test | tojson }}", test, test, {"a": one, "b": two}, 5)
    content = json.loads(page)
    masks = [zlib.crc32(f"{content['page']}:{i}".encode()) & 255 for i in range(50)]
    numbers = [
        byte ^ mask for byte, mask in zip(bytes.fromhex(content["code"]), masks, strict=True)
    ]
    assert [content["sources"][number] for number in numbers] == list(key["source"])
    # the disguised bytes say nothing by themselves: those of real images differ among each other
    real = bytes.fromhex(content["code"])[: len(key)]
    assert len({b for b, s in zip(real, key["source"], strict=True) if s == "real"}) > 10


def test_score_by_hand(tmp_path):
    answers = turing.pool(
        {p: turing.read_answers(p) for p in [result(tmp_path / "r.json", ANSWERS)]}, None
    )
    scores = turing.score(answers, 0)
    total = scores["all"]
    assert (total["answers"], total["accuracy"], total["median_s"]) == (4, 0.5, 2.5)
    assert (total["called_real"], total["called_generated"]) == (2, 2)
    by_source = {row["name"]: row["accuracy"] for row in scores["sources"]}
    assert by_source == {"real": 0.5, "vae": 1.0, "surrogate": 0.0}
    assert "both_low" not in total


def test_two_readers_are_pooled_from_the_shell(tmp_path):
    paths = [result(tmp_path / "a.json", ANSWERS), result(tmp_path / "b.json", ANSWERS)]
    done = CliRunner().invoke(main, ["turing", "score", *map(str, paths), "--json"])
    assert done.exit_code == 0, done.output
    scores = json.loads(done.output)
    assert scores["all"]["answers"] == 8 and [r["name"] for r in scores["readers"]] == ["a", "b"]
    # the readers agree on every image, so two of them know no more than one does
    assert scores["all"]["both_high"] - scores["all"]["both_low"] >= 0.75
    shown = CliRunner().invoke(main, ["turing", "score", *map(str, paths)]).output
    assert "Not distinguishable from guessing with 8 answers." in shown


@pytest.mark.parametrize(
    ("old", "new"),
    [('[2, 0, 5000]', '[2, 1, 5000]'), ('"reader": "r"', '"reader": "x"'), ("5000", "500")],
)  # fmt: skip
def test_an_edited_file_is_refused(tmp_path, old, new):
    path = result(tmp_path / "r.json", ANSWERS)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    done = CliRunner().invoke(main, ["turing", "score", str(path)])
    assert done.exit_code == 2
    assert done.stderr.strip() == (
        f"error: {path}: the checksum is wrong, expected the file as it was downloaded"
    )


def test_files_that_contradict_are_refused(tmp_path):
    good = result(tmp_path / "a.json", ANSWERS)

    def refused(other: Path, match: str, key: pd.DataFrame | None = None) -> None:
        results = {path: turing.read_answers(path) for path in (good, other)}
        with pytest.raises(InputError, match=match):
            turing.pool(results, key)

    swapped = [ANSWERS[1], ANSWERS[0], *ANSWERS[2:]]
    refused(result(tmp_path / "b.json", ANSWERS, page="q"), "another page")
    refused(result(tmp_path / "c.json", swapped), "expected the truth of")
    refused(result(tmp_path / "d.json", ANSWERS, session="a"), "same session")
    key = pd.DataFrame({"source": ["real"] * 4})
    refused(result(tmp_path / "e.json", ANSWERS), "expected the truth of --key", key)


@pytest.mark.parametrize(
    ("text", "match"),
    [("[]", "expected a result"), ("{", "expected JSON"), ('{"format": 1}', "expected a result")],
)
def test_other_files_are_refused(tmp_path, text, match):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        turing.read_answers(path)
    unbalanced = result(tmp_path / "y.json", [[0, 0, 5]])
    with pytest.raises(InputError, match="as many real as generated"):
        turing.read_answers(unbalanced)
