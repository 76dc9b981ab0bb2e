import gzip

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tubepet.errors import InputError
from tubepet.formats import tables
from tubepet.reconstruct.scanner import checks, crystals
from tubepet.reconstruct.scanner.crystals import Crystals


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_crystals_come_back(tmp_path, scanner, suffix) -> None:
    whole = crystals.of_scanner(scanner)
    # what a table says of a crystal; which pairs are coincidences it does not
    ring = Crystals(whole.points_mm, whole.normals, whole.areas_mm2, whole.efficiency)
    tables.write_crystals(tmp_path / f"c.{suffix}", ring)
    back = tables.read_crystals(tmp_path / f"c.{suffix}")
    for name, values in vars(ring).items():  # normals are normalised again: rounding
        np.testing.assert_allclose(getattr(back, name), values, rtol=1e-15, atol=1e-15)


@given(ends=arrays(float, st.tuples(st.integers(1, 9), st.just(2), st.just(3)),
                   elements=st.floats(-1e3, 1e3)))  # fmt: skip
def test_lines_come_back(tmp_path_factory, ends) -> None:
    path = tmp_path_factory.mktemp("lines") / "l.csv"
    tables.write_lines(path, ends)
    np.testing.assert_allclose(tables.read_lines(path)[0], ends, rtol=1e-15)


def test_lines_are_checked(tmp_path) -> None:
    path = tmp_path / "l.csv"
    row = dict.fromkeys(tables.LINE_COLUMNS, 50.0)
    for change, sentence in (
        ({"x1_mm": np.nan}, "NaN or infinite values in x1_mm"),
        ({"time_s": np.nan}, "NaN or infinite values in time_s"),
        ({"x1_mm": "left"}, "expected numbers"),
    ):
        pd.DataFrame([row | change]).to_csv(path, index=False)
        with pytest.raises(InputError, match=sentence):
            tables.read_lines(path)
    pd.DataFrame([row]).drop(columns="z2_mm").to_csv(path, index=False)
    with pytest.raises(InputError, match="expected also z2_mm"):
        tables.read_lines(path)
    pd.DataFrame([row]).iloc[:0].to_csv(path, index=False)
    with pytest.raises(InputError, match="got no rows"):
        tables.read_lines(path)
    path.write_text("")
    with pytest.raises(InputError, match=r"l\.csv: expected a readable table"):
        tables.read_lines(path)


NAMES = ",".join(tables.LINE_COLUMNS)
ROWS = ["50.5,1,2,-50.5,-1,-2", "49.25,3,4,-49.25,-3,-4"]
EXPECTED_MM = [[[50.5, 1, 2], [-50.5, -1, -2]], [[49.25, 3, 4], [-49.25, -3, -4]]]


def as_text(change=lambda line: line, before: str = "", after: str = "") -> bytes:
    return "".join([before, *(change(line) + "\n" for line in (NAMES, *ROWS)), after]).encode()


@pytest.mark.parametrize(
    "data",
    [
        as_text(),
        gzip.compress(as_text()),
        as_text(lambda line: line.replace(",", ";")),
        as_text(lambda line: line.replace(",", "\t")),
        as_text(lambda line: "  " + line.replace(",", "   ")),
        as_text(lambda line: line.replace(",", ";").replace(".", ",")),
        as_text(lambda line: line.replace(",", " , ")),
        as_text(lambda line: line + ","),
        as_text().replace(b"\n", b"\r\n"),
        as_text(before="\ufeff"),
        as_text(before="# made by hand\n\n", after="# the end\n\n"),
        as_text(lambda line: ",".join(f'"{field}"' for field in line.split(","))),
        as_text(lambda line: "energy," + line if line == NAMES else "511," + line),
    ],
    ids=["plain", "gzip", "semicolon", "tab", "spaces", "decimal comma", "space and comma",
         "trailing comma", "crlf", "bom", "comments", "quotes", "another named column"],
)  # fmt: skip
def test_ordinary_text_tables(tmp_path, data) -> None:
    for name in ("l.csv", "l.txt", "l.csv.gz"):  # the content says what it is
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(tables.read_lines(tmp_path / name)[0], EXPECTED_MM)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (as_text(lambda line: line if line == NAMES else line + ",517.7"), "without a name"),
        (as_text(lambda line: "511," + line if line != NAMES else "," + line), "without a name"),
        (as_text(lambda line: line + ",").replace(b"-4,", b"-4,9"), "without a name"),
        (as_text().replace(b"-3,-4", b"-3,-4,9"), "a value for every name"),
        (as_text().replace(b"-3,-4", b"-3"), "NaN or infinite values in z2_mm"),
        (as_text().replace(b"50.5,", b"1e300,"), "coordinates: got 1e.300 mm"),
        (as_text().replace(NAMES.encode() + b"\n", b""), r"expected also x1_mm.*first line"),
        (gzip.compress(as_text())[:-12], "gzip can unpack|readable table"),
        (gzip.compress(as_text() + b" " * (1 << 26)), "unpacks to more than 100 times its size"),
    ],
    ids=["seventh", "first", "sometimes", "late", "short", "far", "no names", "cut", "bomb"],
)
def test_tables_that_would_be_misread(tmp_path, data, sentence) -> None:
    (tmp_path / "l.csv").write_bytes(data)
    with pytest.raises(InputError, match=sentence):
        tables.read_lines(tmp_path / "l.csv")


@pytest.mark.parametrize("factor", [0.1, 0.001])
def test_crystals_in_another_unit_of_length(tmp_path, scanner, factor) -> None:
    ring = crystals.of_scanner(scanner)
    moved = Crystals(ring.points_mm * factor, ring.normals, ring.areas_mm2, ring.efficiency)
    tables.write_crystals(tmp_path / "c.csv", moved)
    with pytest.raises(InputError, match=r"expected places in mm \(cm or m\?\)"):
        tables.read_crystals(tmp_path / "c.csv")


@pytest.mark.parametrize(
    ("factor", "hint"), [(0.1, "file in cm"), (0.001, "file in m"), (10, "scanner in cm"),
                         (4, "another scanner")],
)  # fmt: skip
def test_lines_in_another_unit_of_length(scanner, factor, hint) -> None:
    points_mm = crystals.of_scanner(scanner).points_mm
    checks.check_lengths("l.csv", points_mm * 1.2, points_mm)
    with pytest.raises(InputError, match=rf"from the middle, expected about .* \(.*{hint}\?\)"):
        checks.check_lengths("l.csv", points_mm * factor, points_mm)
