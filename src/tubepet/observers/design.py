"""Draw the parts for the training, the thresholds and the test of observers."""

from collections.abc import Mapping, Sequence
from typing import Any

from tubepet import rng
from tubepet.pod.design import CLEAN, Planned, planned_part

TRAIN, VALIDATION, TEST = "train", "validation", "test"
JUDGED = (VALIDATION, TEST)


def kind(role: str, i: int, defects: Sequence[str]) -> tuple[str, int]:
    """Return the class of part i of a role, and its number within the class.

    Every second part is clean; the others have the classes in turn. Validation parts serve for
    thresholds alone, so all are clean.
    """
    if role == VALIDATION:
        return CLEAN, i
    turn = i // 2
    return (CLEAN, turn) if i % 2 == 0 else (defects[turn % len(defects)], turn // len(defects))


def planned(
    batch: str, duration_s: float, defects: Sequence[str], phantom: Mapping[str, Any], seed: int
) -> list[Planned]:
    """Draw the parts of a batch. A part depends on its role and number only, not on its batch.

    Each role has its own stream of random numbers, so its parts are none of another role, of the
    target `pod`, or of the run.

    Parameters
    ----------
    batch : str
        Role, first and last part: ``train_0-19``.
    duration_s : float
        Duration of the acquisition.
    defects : sequence of str
        Classes of defects.
    phantom : mapping
        Config section `phantom`: families and ranges.
    """
    role, _, numbers = batch.partition("_")
    first, last = (int(number) for number in numbers.split("-"))
    own_seed = rng.derived_seed(seed, "observers", role)
    parts = []
    for i in range(first, last + 1):
        name, number = kind(role, i, defects)
        part = planned_part(name, number, duration_s, duration_s, phantom, own_seed)
        parts.append(part._replace(name=f"{role}_{part.name}"))
    return parts
