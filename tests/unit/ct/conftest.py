"""A tiny DeepLesion folder that tests may damage."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tubepet.ct.standin import COLUMNS


def write_png(path: Path, hu: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((hu + 32768).astype(np.uint16)).save(path)


def write_rows(folder: Path, rows: list[dict[str, object]]) -> None:
    pd.DataFrame(rows).reindex(columns=list(COLUMNS)).to_csv(folder / "DL_info.csv", index=False)


def row(name: str, **fields: object) -> dict[str, object]:
    defaults = {"Possibly_noisy": 0, "Slice_range": "1, 3", "Train_Val_Test": 1}
    return {"File_name": name, **defaults, **fields}


@pytest.fixture
def deeplesion_dir(tmp_path: Path) -> Path:
    """Return a folder of two patients (train, val) with a series each; one slice is missing."""
    rng = np.random.default_rng(0)
    for patient, numbers in ((1, (1, 2)), (2, (1, 2, 3))):
        for i in numbers:
            hu = rng.integers(-1024, 1000, (16, 16))
            write_png(tmp_path / f"Images_png/{patient:06d}_01_01/{i:03d}.png", hu)
    write_rows(
        tmp_path, [row("000001_01_01_002.png"), row("000002_01_01_001.png", Train_Val_Test=2)]
    )
    return tmp_path
