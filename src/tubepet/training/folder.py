"""The folder of a trained network away from its run: weights, and the JSON that describes them."""

from pathlib import Path
from typing import Any

from tubepet import io
from tubepet.errors import InputError


def read_facts(path: Path, number: int, example: str) -> dict[str, Any]:
    """Read the JSON of a trained network, beside which its weights lie.

    Parameters
    ----------
    path : Path
        ``NAME.json``; the weights are ``NAME.safetensors``.
    number : int
        Format that this version of tubepet writes.
    example : str
        A folder that a run makes of this kind.

    Raises
    ------
    InputError
        If one of the two files is missing, or the JSON is damaged or of another format.
    """
    for file in (path, path.with_suffix(".safetensors")):
        if not file.is_file():
            raise InputError(f"{file}: missing, expected a folder like {example}")
    facts = io.read_json(path)
    if not isinstance(facts, dict) or facts.get("format") != number:
        got = facts.get("format", "none") if isinstance(facts, dict) else "no object"
        raise InputError(f"{path}: got format {got}, expected {number}: train it again")
    return facts
