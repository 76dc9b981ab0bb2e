"""The default scanner."""

from pathlib import Path

import pytest
import yaml

from tubepet.types import Scanner


@pytest.fixture(scope="session")
def scanner(root: Path) -> Scanner:
    return Scanner(**yaml.safe_load((root / "config" / "config.yaml").read_text())["scanner"])
