"""Compare verdicts with the truth: defects called, defects missed, false calls."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tubepet.inspect.verdict import DEFECT
from tubepet.logs import log

# An indication is in the right place if it is this near to the box that holds the defect.
NEAR_MM = 2.0
COLUMNS = (
    "tube", "family", "defect", "defect_mm", "verdict", "is_called", "is_right_place", "largest_z",
    "threshold_z", "p_value", "kind", "size_mm", "x_mm", "y_mm", "z_mm", "distance_mm",
)  # fmt: skip


def judged(verdicts: Sequence[dict[str, Any]], truths: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Return one row per part, with its first indication.

    Parameters
    ----------
    verdicts : sequence of dict
        `verdict.Inspection.as_json`.
    truths : sequence of dict
        `phantom.maps.truth`, in the same order.

    Returns
    -------
    DataFrame
        `COLUMNS`; distance_mm is the distance of the indication from the box of the defect.
    """
    rows = [_row(found, truth) for found, truth in zip(verdicts, truths, strict=True)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    has_defect = table["defect"] != "none"
    log.info(
        "%d of %d defects called, %d of them in the right place; %d of %d clean parts called",
        (table["is_called"] & has_defect).sum(), has_defect.sum(), table["is_right_place"].sum(),
        (table["is_called"] & ~has_defect).sum(), (~has_defect).sum(),
    )  # fmt: skip
    return table


def _row(found: dict[str, Any], truth: dict[str, Any]) -> dict[str, Any]:
    defect = truth["defects"][0] if truth["defects"] else None
    row = {key: truth[key] for key in ("tube", "family", "defect")}
    row |= {key: found[key] for key in ("verdict", "largest_z", "threshold_z", "p_value")}
    row |= {"is_called": found["verdict"] == DEFECT, "is_right_place": False}
    row["defect_mm"] = defect["size_mm"] if defect else np.nan
    if not found["indications"]:
        return row
    first = found["indications"][0]
    row |= {key: first[key] for key in ("kind", "size_mm", "x_mm", "y_mm", "z_mm")}
    if defect:
        away = [
            max(low - first[f"{axis}_mm"], first[f"{axis}_mm"] - high, 0.0)
            for axis, (low, high) in zip("xyz", defect["box_mm"], strict=True)
        ]
        row["distance_mm"] = float(np.linalg.norm(away))
        row["is_right_place"] = row["is_called"] and row["distance_mm"] <= NEAR_MM
    return row
