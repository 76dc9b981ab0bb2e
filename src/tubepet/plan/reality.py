"""Which jobs ask what helps where few real parts are known."""

from collections.abc import Callable
from typing import Any

from tubepet.plan import pod


def batches(section: dict[str, Any]) -> list[str]:
    """Return the names of all batches: role, first and last part, such as ``real_0-19``.

    Parameters
    ----------
    section : dict
        Config section `reality`.
    """
    numbers = {
        "simulated": section["simulated_parts"],
        "real": max(section["real_parts"]),
        "validation": section["validation_parts"],
        "test": section["test_parts"],
    }
    return pod.cut(numbers, section["parts_per_job"])


def is_real(batch: str) -> bool:
    """Whether the parts of a batch are real: all but simulated ones."""
    return not batch.startswith("simulated")


def where_real(value: Any, otherwise: Any) -> Callable[[Any], Any]:
    """Return the function that gives a rule a value for real parts, and another for others."""

    def chosen(wildcards: Any) -> Any:
        return value if is_real(wildcards.batch) else otherwise

    return chosen


def arms(section: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each network learns from, by its name: fields of `observers.few_real.Arm`."""
    arms: dict[str, dict[str, Any]] = {"simulated": {"has_simulated": True}}
    for num in section["real_parts"]:
        arms[f"real_{num}"] = {"num_real": num}
        arms[f"both_{num}"] = {"num_real": num, "has_simulated": True}
        arms[f"surrogate_{num}"] = arms[f"both_{num}"] | {"has_generated": True}
        steps = {"num_flow_steps": section["num_flow_steps"]}
        arms[f"residual_{num}"] = arms[f"surrogate_{num}"] | steps
    return arms


def reference(section: dict[str, Any]) -> str:
    """Return the arm that others are compared with: the largest number of real parts but one."""
    numbers = sorted(section["real_parts"])
    return f"real_{numbers[max(len(numbers) - 2, 0)]}"
