"""A PNG carries the numbers that its figure shows."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tubepet import figure_data, io


@pytest.fixture
def written(tmp_path):
    """Return written(figure): the path of its PNG."""

    def write(figure):
        io.write_figure(tmp_path / "a.png", figure)
        return tmp_path / "a.png"

    return write


def rows(path, name: str) -> list[list[float]]:
    table = figure_data.of_png(path)
    columns = [c for c in ("x", "y", "value", "low", "high") if c in table]
    found = table.loc[table["name"] == name, columns].dropna(axis=1, how="all")
    return found.astype(object).where(found.notna(), None).values.tolist()


def test_curves_by_hand(written):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    left.plot([0, 1, 2], [5, 6, 1234.56], label="fit")
    left.errorbar([0, 1], [10, 20], [1, 2], fmt=".", label="source")
    left.axhline(3)  # no data
    left.set_title("rates")
    right.stairs([7, 8], [0, 0.5, 1], label="fast")
    right.bar([1, 2, 3], [3, 4, np.nan], yerr=[[1, 1, 0], [2, 3, 0]], capsize=4)
    right.errorbar([5.0], [2], xerr=[[1], [2]], fmt="o", capsize=2)
    path = written(figure)
    assert rows(path, "fit") == [[0, 5], [1, 6], [2, 1234.6]]  # five digits
    assert rows(path, "source") == [[0, 10, 9, 11], [1, 20, 18, 22]]
    assert rows(path, "bars") == [[1, 3, 2, 5], [2, 4, 3, 7], [3, *3 * [None]]]
    assert rows(path, "points, x error") == [[5, 2, 4, 7]]
    table = figure_data.of_png(path)
    assert list(table[table["name"] == "fast"]["x"]) == [0, 0.5, 1]
    assert list(table[table["name"] == "fast"]["y"][:-1]) == [7, 8]
    assert set(table["panel"]) == {"1 rates", "2"}
    assert len(table) == 3 + 2 + 3 + 1 + 3


@pytest.mark.parametrize("origin", ["lower", "upper"])
def test_pixels_by_hand(written, origin):
    figure = Figure()
    axes = figure.subplots()
    shown = axes.imshow([[1, 2], [3.14159, -4e6]], extent=(-2, 2, 10, 14), origin=origin)
    figure.colorbar(shown)
    first, second = (11, 13) if origin == "lower" else (13, 11)
    assert rows(written(figure), "image") == [
        [-1, first, 1], [1, first, 2], [-1, second, 3.14], [1, second, -4e6],
    ]  # fmt: skip


def test_too_many_pixels_are_left_out_and_curves_stay(written, monkeypatch):
    monkeypatch.setattr(figure_data, "MAX_VALUES", 3)
    figure = Figure()
    left, right = figure.subplots(1, 2)
    left.imshow(np.eye(2))
    right.plot([1, 2], [3, 4])
    assert list(figure_data.of_png(written(figure))["name"]) == ["line", "line"]


def test_the_picture_is_one_and_equal_figures_are_equal_files(written, tmp_path):
    def draw():
        figure = Figure()
        figure.subplots().plot([1, 2], [3, np.nan])
        return figure

    first = written(draw()).read_bytes()
    assert first == written(draw()).read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        picture.verify()  # checksums of all chunks
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (704, 528) and np.asarray(picture.convert("L")).std() > 1
        picture.save(tmp_path / "without.png")
    assert figure_data.of_png(tmp_path / "without.png") is None
    assert len(figure_data.of_png(written(Figure()))) == 0
