import pandas as pd
import pytest

from tubepet.report import columns, tables


def stats(tube: str, prompts: int) -> dict[str, object]:
    return {
        "tube": tube, "tables": "substitute", "tables_note": "Good for photons.",
        "decays": 60, "prompts": prompts, "engine": "fast",
    }  # fmt: skip


VERDICT = {"tables": "official", "statement": "They agree."}


def test_facts_name_substitutes_and_empty_tubes():
    facts = tables.facts(
        [stats("tube_0000", 0), stats("tube_0001", 5)],
        stats("literal", 8),
        {"sentence": "unresolved: too few"},
        VERDICT,
        {"unit": "Bq/mm3", "num_slices": {"train": 3, "test": 2}},
        {"source": "made by config", "is_standin": True},
    )
    text = " ".join(facts["sentences"])
    assert "positron" not in text
    assert "fast engine. They agree. (GATE's Geant4 tables: official.)" in text
    assert "substitute" in text and "stand-in" in text
    assert "60 decays and 8 coincidences in the first tube" in text
    assert "1 of 2 tubes gave no coincidence at all (tube_0000)" in text
    caveats = facts["caveats"]
    assert "They agree." in " ".join(caveats["physics"])
    assert "1 of 2 tubes gave no coincidence" in caveats["images"][0]
    assert "stand-in" in caveats["generators"][0]


def test_facts_name_the_emitter_of_the_positrons():
    facts = tables.facts(
        [stats("tube_0000", 5) | {"particle": "e+", "isotope": "Ga68"}],
        stats("literal", 8),
        {"sentence": "unresolved: too few"},
        VERDICT,
        {"unit": "Bq/mm3", "num_slices": {"train": 3, "test": 2}},
        {"source": "made by config", "is_standin": True},
    )
    assert any("positrons with the energies of Ga68" in line for line in facts["sentences"])


def test_cost_sums_jobs_of_a_rule(tmp_path):
    (tmp_path / "simulate_tube").mkdir()
    for name, seconds in (("tube_0000", 2.0), ("tube_0001", 4.0)):
        pd.DataFrame({"s": [seconds], "cpu_time": [1.0], "max_rss": ["-"]}).to_csv(
            tmp_path / "simulate_tube" / f"{name}.tsv", sep="\t", index=False
        )
    (row,) = tables.cost(tmp_path).to_dict("records")
    assert (row["rule"], row["jobs"], row["wall_s"], row["longest_s"]) == ("simulate_tube", 2, 6, 4)


@pytest.mark.parametrize("name", list(tables.TITLES))
def test_pages_escape_what_they_show(name):
    first, second = list(columns.NAMES[name])[:2]
    table = pd.DataFrame({first: ["<script>"], second: [1.0]})
    page = tables.page(name, table, {first: "<b>", "other": "?"})
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert "<b>" not in page and "&lt;b&gt;" in page and "other" not in page
    assert f"<th>{columns.NAMES[name][second]}</th>" in page


def test_intervals_stand_in_one_cell():
    table = pd.DataFrame({"model": ["edm"], "x": [1.0], "x_low": [0.5], "x_high": [2.0], "n": [3]})
    (row,) = tables.with_intervals(table).to_dict("records")
    assert row == {"model": "edm", "x": "1 [0.5, 2]", "n": 3}
