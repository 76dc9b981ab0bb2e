"""Read the folder of a trained network: its weights, and the JSON that describes them."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tubepet import io
from tubepet.errors import InputError

Net = TypeVar("Net", bound=nn.Module)
# The largest credible numbers in the JSON: lengths beyond any scanner, activity beyond any source.
MOST = {"pixel_mm": 1e3, "slice_mm": 1e3, "scale_bq_mm3": 1e12}


def checked_sizes(path: Path, facts: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers named in `MOST`, each above 0.

    Raises
    ------
    InputError
        If one is missing, no number, or out of bounds.
    """
    sizes = {}
    for key, most in MOST.items():
        value: Any = facts.get(key)
        if not (isinstance(value, int | float) and 0 < value <= most):
            raise InputError(f"{path}: {key} got {value!r:.60}, expected above 0, at most {most:g}")
        sizes[key] = float(value)
    return sizes


def load_network(make: Callable[[], Net], path: str | os.PathLike[str], what: str) -> Net:
    """Rebuild a trained network, in evaluation mode.

    Parameters
    ----------
    make : callable
        Returns the network with any weights. The first call is on PyTorch's device "meta", which
        takes no memory: sizes that come from a damaged file may be huge.
    path : path
        The weights, a safetensors file.
    what : str
        Name of the network in errors, for instance "a VAE with 16 channels".

    Raises
    ------
    InputError
        If the file is damaged, belongs to another architecture, or holds weights that are not
        finite.
    """
    try:
        tensors = load_file(io.checked(path))
        with torch.device("meta"):
            planned = make()
        planned.load_state_dict(tensors, assign=True)
        network = make()
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"{path}: expected the weights of {what}, got: {str(error).splitlines()[0]}"
        ) from error
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: got weights {name} that are not finite, expected {what}")
    return network.eval()


def read_facts(path: Path, number: int, example: str) -> dict[str, Any]:
    """Read the JSON of a trained network.

    Parameters
    ----------
    path : Path
        ``NAME.json``; the weights ``NAME.safetensors`` lie beside it.
    number : int
        Version of the format that this version of tubepet writes.
    example : str
        Name of such a folder, for the message.

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
