import pandas as pd
from tests.conftest import ROOT

from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.report import card

TABLE = pd.DataFrame(
    {
        "model": ["dcgan", FLOOR, COPY],
        "nearest_ratio": [0.8, 1.0, 0.0],
        "nearest_ratio_low": [0.7, 0.9, 0.0],
        "nearest_ratio_high": [0.9, 1.1, 0.0],
    }
)
SLICES = {
    "pixel_mm": 0.5, "slice_mm": 1.0, "num_tubes": {"train": 50, "test": 21},
    "num_slices": {"train": 900, "test": 400},
}  # fmt: skip
METRICS = {"columns": {"nearest_ratio": "median distance; median of 100 draws"}}


def write(table: pd.DataFrame) -> str:
    generator = {"code": "abc", "seed": 7, "num_train": 900}
    template = (ROOT / "workflow/report/card.md").read_text()
    return card.model_card(
        template, "dcgan", generator, SLICES, table, METRICS, ["CT: a stand-in."]
    )


def test_the_numbers_of_the_run_are_in_the_card():
    text = " ".join(write(TABLE).split())
    assert "900 slices of 50 simulated tubes" in text and "400 slices of 21 other tubes" in text
    assert "code abc, seed 7" in text and "- CT: a stand-in." in text
    assert "| nearest_ratio | 0.8 [0.7, 0.9] | 1 [0.9, 1.1] | median distance |" in text
    assert "test slice: 0.80 [0.70, 0.90]. A copier would have 0.00" in text
    assert "No image that it makes is a measurement" in text


def test_a_missing_measurement_is_said():
    table = TABLE.assign(nearest_ratio=float("nan"))
    assert "Not measured: the ratio of nearest neighbours is undefined" in write(table)


def test_an_empty_cell_reads_undefined():
    table = TABLE.copy()
    table.loc[table["model"] == FLOOR, TABLE.columns[1:]] = float("nan")
    assert "| 0.8 [0.7, 0.9] | undefined |" in write(table)
    assert "real slices of other tubes undefined" in " ".join(write(table).split())
