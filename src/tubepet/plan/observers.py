"""Which jobs compare observers."""

from typing import Any

from tubepet.plan import pod


def batches(section: dict[str, Any]) -> list[str]:
    """Return the names of all batches: role, first and last part, such as ``train_0-19``.

    Parameters
    ----------
    section : dict
        Config section `observers`.
    """
    roles = ("train", "validation", "test")
    return pod.cut({role: section[f"{role}_parts"] for role in roles}, section["parts_per_job"])
