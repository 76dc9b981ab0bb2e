"""Images from a trained generator, in Bq/mm3."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tubepet import io
from tubepet.errors import InputError
from tubepet.generate.data import Data
from tubepet.generate.run import Model


def load_generator(
    model: Model, weights_path: str | os.PathLike[str], arguments: Mapping[str, Any]
) -> nn.Module:
    """Rebuild a trained generator, in evaluation mode.

    Parameters
    ----------
    model : Model
        A module of `tubepet.generate.models.catalogue`.
    weights_path : path
        Its `generator.safetensors`.
    arguments : mapping
        The `arguments` of its `generator.json`.

    Raises
    ------
    InputError
        If the file is damaged or belongs to another architecture.
    """
    try:
        tensors = load_file(io.checked(weights_path))
        with torch.device("meta"):  # without memory: the arguments may say anything
            planned = model.make_generator(arguments)
        planned.load_state_dict(tensors, assign=True)
        generator = model.make_generator(arguments)
        generator.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, OverflowError) as error:
        raise InputError(
            f"{weights_path}: expected the weights of a generator with {dict(arguments)}, got: "
            f"{str(error).splitlines()[0]}"
        ) from error
    return generator.eval()


@torch.no_grad()
def sample_images(
    model: Model, generator: nn.Module, num: int, data: Data, rng: torch.Generator
) -> NDArray[np.float32]:
    """Generate images in physical units.

    Parameters
    ----------
    model, generator
        A module of `tubepet.generate.models.catalogue` and a generator of it, in evaluation mode.
    num : int
        How many.
    data : Data
        `real` gives the scale; `ct` the queries of the attention memory.
    rng : torch.Generator
        On the CPU; the same state gives the same images.

    Returns
    -------
    float32 array, shape (num, H, W)
        Bq/mm3, the inverse of the scaling of `Images`.
    """
    images = model.sample(generator, num, data, rng).float().squeeze(1).numpy()  # (num, H, W)
    low, high = data.real.low, data.real.high
    return ((images + 1) / 2 * (high - low) + low).astype(np.float32)
