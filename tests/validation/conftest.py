"""Proofs that take minutes each run on request only."""

import os

import pytest

LONG = {
    "test_background", "test_lutetium", "test_physics", "test_positrons", "test_scatter",
    "test_transport", "test_the_engines_agree",
}  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.environ.get("TUBEPET_PROOFS") == "1":
        return
    skip = pytest.mark.skip(reason="takes minutes: TUBEPET_PROOFS=1 runs it")
    for item in items:
        if item.path.parent.name == "validation" and {item.path.stem, item.originalname} & LONG:
            item.add_marker(skip)
