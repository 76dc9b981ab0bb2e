"""Draw images from a trained generator, in Bq/mm3."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tubepet.generate.data import Data
from tubepet.generate.run import Model
from tubepet.training.folder import load_network


@dataclass(frozen=True)
class Batch:
    """Some generated images.

    Attributes
    ----------
    images : float32 array, shape (n, H, W)
        Bq/mm3.
    labels : DataFrame
        One row per image; no columns for a model without labels.
    masks : uint8 array, shape (n, H, W), or (0, H, W) without labels
        1 where the defect is.
    """

    images: NDArray[np.float32]
    labels: pd.DataFrame
    masks: NDArray[np.uint8]


@dataclass(frozen=True)
class Generator:
    """A trained generator, read from its folder.

    Attributes
    ----------
    model : Model
    network : nn.Module
        In evaluation mode.
    data : Data
        The scale, and for the paper's model the CT slices; no positron slices.
    pixel_mm, slice_mm : float
    facts : mapping
        The whole `generator.json`.
    """

    model: Model
    network: Any
    data: Data
    pixel_mm: float
    slice_mm: float
    facts: Mapping[str, Any]

    @property
    def scale_bq_mm3(self) -> float:
        """Return the activity that is 1 for the network."""
        return self.data.real.high


def load_generator(
    model: Model, weights_path: str | os.PathLike[str], arguments: Mapping[str, Any]
) -> nn.Module:
    """Rebuild a trained generator, in evaluation mode.

    Parameters
    ----------
    model : Model
        Of `tubepet.generate.models.catalogue`.
    weights_path : path
        Its `generator.safetensors`.
    arguments : mapping
        The `arguments` of its `generator.json`.

    Raises
    ------
    InputError
        If the file is damaged or belongs to another architecture.
    """
    return load_network(
        lambda: model.make_generator(arguments), weights_path, f"a generator with {dict(arguments)}"
    )


@torch.no_grad()
def sample_images(
    model: Model, network: nn.Module, num: int, data: Data, rng: torch.Generator
) -> NDArray[np.float32]:
    """Generate images in physical units.

    Parameters
    ----------
    model, network
        A model of `tubepet.generate.models.catalogue`, and its generator in evaluation mode.
    num : int
        Number of images.
    data : Data
        `real` has the scale, `ct` the queries of the paper's model.
    rng : torch.Generator
        On the CPU; the same state gives the same images.

    Returns
    -------
    float32 array, shape (num, H, W)
        Bq/mm3.
    """
    return _physical(model.sample(network, num, data, rng), data)


@torch.no_grad()
def sample_batch(
    model: Model,
    network: nn.Module,
    num: int,
    data: Data,
    rng: torch.Generator,
    wanted: Mapping[str, Any],
) -> Batch:
    """Generate images with their labels, if the model gives any.

    Parameters
    ----------
    model, network, num, data, rng
        See `sample_images`.
    wanted : mapping
        Properties of the tubes to fix, for instance family and defect; the rest is drawn.

    Raises
    ------
    InputError
        If a property is unknown or impossible, or the model cannot fix any.
    """
    images, labels, masks = model.sample_labelled(network, num, data, rng, wanted)
    return Batch(_physical(images, data), labels, masks)


def _physical(images: Tensor, data: Data) -> NDArray[np.float32]:
    """Scale images (n, 1, H, W) in [-1, 1] to (n, H, W) in Bq/mm3."""
    unit = (images.float().squeeze(1).numpy() + 1) / 2
    return (unit * (data.real.high - data.real.low) + data.real.low).astype(np.float32)
