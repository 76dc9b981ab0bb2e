"""`tubepet numbers` prints the numbers of a figure."""

from pathlib import Path

from click.testing import CliRunner
from matplotlib.figure import Figure
from PIL import Image

from tubepet import io
from tubepet.cli import main


def test_numbers_of_a_picture_are_printed_as_csv(tmp_path: Path) -> None:
    figure = Figure()
    figure.subplots().plot([0.0, 1.0], [2.0, 3.5], label="line")
    io.write_figure(tmp_path / "a.png", figure)
    done = CliRunner().invoke(main, ["numbers", str(tmp_path / "a.png")])
    assert done.exit_code == 0 and "3.5" in done.stdout and "," in done.stdout.splitlines()[0]


def test_a_picture_without_numbers_is_one_sentence(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "b.png")
    done = CliRunner().invoke(main, ["numbers", str(tmp_path / "b.png")])
    assert done.exit_code == 2 and "b.png: got a picture without numbers" in done.stderr
    (tmp_path / "c.png").write_bytes(b"no picture")
    assert CliRunner().invoke(main, ["numbers", str(tmp_path / "c.png")]).exit_code == 2
