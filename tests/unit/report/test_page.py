import numpy as np
import pandas as pd

from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.report import page

RECOVERY = pd.DataFrame({"true_bq": [100.0, 200.0], "reconstructed_bq": [98.0, 200.0]})
TABLE = pd.DataFrame(
    {
        "model": ["vae", "surrogate", FLOOR, COPY],
        "frechet": [9.0, 2.0, 1.0, 0.5],
        "frechet_low": [8.0, 1.5, 0.9, 0.4],
        "frechet_high": [10.0, 2.5, 1.1, 0.6],
        "c2st": [1.0, 0.8, 0.5, 0.5],
        "c2st_low": [1.0, 0.7, 0.4, 0.4],
        "c2st_high": [1.0, 0.9, 0.6, 0.6],
    }
)


def test_what_came_out_is_said_from_the_numbers():
    images, generators = page.in_short(RECOVERY, TABLE)
    assert "is 0.990 on average over 2 tubes (standard deviation 0.010)" in images
    assert (
        "surrogate has the smallest of 2 Fréchet distances to held-out slices, 2 [1.5, 2.5]; "
        in (generators)
    )
    assert "real slices of other tubes have 1 [0.9, 1.1]. A classifier tells its" in generators
    assert "with accuracy 0.8 [0.7, 0.9] (0.5: it cannot)." in generators


def test_what_is_undefined_is_not_said():
    table = TABLE.assign(frechet=np.nan)
    assert len(page.in_short(RECOVERY, table)) == 1
    without = TABLE.drop(columns=["c2st", "c2st_low", "c2st_high"])
    assert "classifier" not in page.in_short(RECOVERY, without)[1]
