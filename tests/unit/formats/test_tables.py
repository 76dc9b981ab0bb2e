import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tubepet.errors import InputError
from tubepet.formats import tables
from tubepet.reconstruct.scanner import crystals
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
