"""Every column of the report has a name with its unit, and rows have names for readers."""

import pandas as pd

from tubepet.evaluate.metrics import QUICK, STATISTICS, descriptions
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.inspect.judge import COLUMNS
from tubepet.pod.table import CLASS_COLUMNS
from tubepet.report import columns

HIDDEN = {"is_called", "distance_mm", "share_low", "share_high"}


def test_every_column_of_the_tables_has_a_name():
    assert set(COLUMNS) - HIDDEN <= columns.NAMES["verdicts"].keys()
    assert set(CLASS_COLUMNS) - HIDDEN <= columns.NAMES["classes"].keys()
    assert descriptions([STATISTICS]).keys() <= columns.NAMES["table1"].keys()
    in_imagenet = (name for metric in QUICK if metric.is_in_space for name in metric.descriptions)
    assert {f"{name}_imagenet" for name in in_imagenet} <= columns.NAMES["table1"].keys()


def test_units_are_in_the_names_and_better_has_an_arrow():
    for names in columns.NAMES.values():
        assert len(set(names.values())) == len(names)
        for key, name in names.items():
            assert ("/ mm" in name) == key.endswith("_mm"), key
    for metric in descriptions([STATISTICS]):
        assert set("↑↓→") & set(columns.NAMES["table1"][metric]), metric


def test_real_is_called_what_it_is():
    table = pd.DataFrame({"model": ["vae", FLOOR, COPY], "precision": [0.1, 0.9, 0.9]})
    shown = columns.named("table1", table)
    assert list(shown.columns) == ["images", "precision ↑"]
    assert shown["images"].tolist() == ["vae", "simulated, training tubes", "perfect copier"]
    own = columns.named("table1", table.rename(columns={"precision": "sharpness"}))
    assert list(own.columns) == ["images", "sharpness"]


def test_yes_and_no_are_words():
    shown = columns.named("verdicts", pd.DataFrame({"is_right_place": [True, False]}))
    assert shown["in the right place"].tolist() == ["yes", "no"]


def test_table_1_is_five_numbers_and_the_rest():
    names = ["model", "energy", "frechet", "frechet_low", "frechet_high", "coverage"]
    main, rest = columns.main_and_rest(pd.DataFrame([range(6)], columns=names))
    assert list(main) == ["model", "frechet", "frechet_low", "frechet_high", "coverage"]
    assert list(rest) == ["model", "energy"]
    assert len(columns.MAIN) == 5
