"""Which jobs compare observers: methods that decide whether a part has a defect."""

from collections.abc import Callable
from typing import Any

from tubepet.plan import pod

# The channelised Hotelling observers, and whether each sees the drawing.
HOTELLING = {"hotelling": True, "hotelling_image": False}


def batches(section: dict[str, Any]) -> list[str]:
    """Return the names of all batches: role, first and last part, such as ``train_0-19``.

    Parameters
    ----------
    section : dict
        Config section `observers`.
    """
    roles = ("train", "validation", "test")
    return pod.cut({role: section[f"{role}_parts"] for role in roles}, section["parts_per_job"])


def arms(section: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each network learns from, by its name: fields of `observers.learned.Arm`."""
    arms: dict[str, dict[str, Any]] = {"learned": {}, "learned_image": {"has_drawing": False}}
    for number in section["few_parts"]:
        arms[f"learned_{number}"] = {"num_parts": number}
        arms[f"learned_{number}_surrogate"] = {"num_parts": number, "has_generated": True}
    return arms


def by_arm(arms: dict[str, dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """Return the function that gives a rule the arm of its wildcards."""

    def arm(wildcards: Any) -> dict[str, Any]:
        return arms[wildcards.arm]

    return arm
