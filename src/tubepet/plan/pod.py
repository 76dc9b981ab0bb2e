"""Which jobs inspect which parts, for the probability of detection."""

from collections.abc import Mapping
from typing import Any


def batches(section: dict[str, Any]) -> list[str]:
    """Return the names of all batches: class, first and last part, such as ``pit_0-19``.

    Parameters
    ----------
    section : dict
        Config section `pod`.
    """
    numbers = dict.fromkeys(section["defects"], section["parts_per_class"])
    return cut(numbers | {"clean": section["clean_parts"]}, section["parts_per_job"])


def cut(numbers: Mapping[str, int], step: int) -> list[str]:
    """Return the names of batches of at most `step` parts; `numbers` are the parts by kind."""
    return [
        f"{name}_{first}-{min(first + step, number) - 1}"
        for name, number in numbers.items()
        for first in range(0, number, step)
    ]
