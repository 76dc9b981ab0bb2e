"""The table of counts: one row per simulated tube."""

from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ["tube", "decays", "singles", "prompts", "trues", "scatters", "randoms", "delayed"]


def count_table(stats: list[dict[str, Any]]) -> pd.DataFrame:
    """Gather counts and derived shares.

    Parameters
    ----------
    stats : list of dict
        ``stats.json`` of every tube.

    Returns
    -------
    DataFrame
        `COLUMNS`, sensitivity (prompts / decays), scatter_fraction (scatters / (trues + scatters))
        and seconds (wall time); a share without counts is empty (NaN).
    """
    table = pd.DataFrame(stats, columns=[*COLUMNS, "wall_s"])
    decays = table["decays"].replace(0, np.nan)
    same_decay = (table["trues"] + table["scatters"]).replace(0, np.nan)
    table["sensitivity"] = (table["prompts"] / decays).round(4)
    table["scatter_fraction"] = (table["scatters"] / same_decay).round(4)
    return table.rename(columns={"wall_s": "seconds"})
