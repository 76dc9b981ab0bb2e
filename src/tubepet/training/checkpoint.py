"""Checkpoints that let a killed training continue, and only the same training.

A checkpoint lies in a folder that no rule declares, so Snakemake does not remove it when a job
fails. It carries a digest of all that decides the result: config, data and code. A training with
another digest ignores it.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tubepet import io
from tubepet.logs import log


def training_digest(config: Mapping[str, Any], *arrays: NDArray[Any]) -> str:
    """Hash a run's settings and its data.

    Parameters
    ----------
    config : mapping
        All settings that decide the result, as JSON, with the seed and `code_digest`.
    arrays : arrays
        Training data; memory-mapped ones are read in pieces.

    Returns
    -------
    str
        SHA-256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for piece in io.pieces(array, np.arange(len(array))):
            digest.update(piece.tobytes())
    return digest.hexdigest()


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any], digest: str) -> None:
    """Write `state` atomically.

    Parameters
    ----------
    path : path
        File to write; its folder is made.
    state : dict
        Tensors, numbers, strings, and dicts, lists and tuples of them; state dicts, for instance.
    digest : str
        See `training_digest`.
    """
    with io.atomic(path) as part:
        torch.save({"digest": digest, "state": state}, part)


def load_checkpoint(path: str | os.PathLike[str], digest: str) -> dict[str, Any] | None:
    """Read the state of a training that is to continue.

    Parameters
    ----------
    path : path
        File that `save_checkpoint` wrote; it need not exist.
    digest : str
        Digest of the training that is to continue.

    Returns
    -------
    dict or None
        The state, on the CPU. None if there is no file, if it is damaged, or if it has another
        digest; the log says why.
    """
    if not Path(path).is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make torch raise many kinds
        log.warning("%s is damaged (%s) and ignored", path, type(error).__name__)
        return None
    if not isinstance(saved, dict) or saved.get("digest") != digest or "state" not in saved:
        log.info("%s belongs to other settings or data and is ignored", path)
        return None
    state: dict[str, Any] = saved["state"]
    return state
