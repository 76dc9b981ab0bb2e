from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from tubepet.phantom.spec import Tube, check


@pytest.fixture(scope="session")
def phantom(root: Path) -> dict[str, Any]:
    """Return the default config section."""
    return yaml.safe_load((root / "config" / "config.yaml").read_text())["phantom"]


@pytest.fixture(scope="session")
def make_tube() -> Callable[..., Tube]:
    """Return a maker of tubes: a round one without defect, but for what is named."""

    def make(**values: Any) -> Tube:
        plain = {
            "family": "round", "defect": "none", "length_mm": 10.0, "bore_radius_mm": 6.0,
            "wall_mm": 2.5, "orientation_deg": 30.0, "ellipse_ratio": 0.7,
            "corner_radius_ratio": 0.4, "eccentricity_ratio": 0.5, "step_ratio": 0.7,
            "bend_mm": 1.5, "defect_size_mm": 3.0, "defect_z_mm": 0.5, "defect_deg": 70.0,
            "defect_radius_ratio": 0.8, "groove_kind": "circumferential",
            "thinning_side": "inner",
        }  # fmt: skip
        assert set(plain) == {field.name for field in fields(Tube)}
        tube = Tube(**{**plain, **values})
        check("test", tube)
        return tube

    return make
