"""A trained generator away from its run: what its folder must hold, and images with labels.

The folder `results/gan/<model>` is enough: weights, and a JSON with architecture, scale and pixel
size. Only the paper's model needs more: the CT slices that it is queried with, which may not be
free to go with it, so they stay in the folder that the run made of them.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

import tubepet
from tubepet import io
from tubepet.errors import InputError
from tubepet.generate import sample
from tubepet.generate.data import Data, Images, ct_images
from tubepet.generate.labelled import sample_labelled
from tubepet.generate.models import catalogue
from tubepet.rng import derived_seed

FORMAT = 1  # of generator.json
CHUNK = 200  # images at once, a part of the recipe: another size would give other images
NEEDS_CT = ("paper",)  # its encoder and its bank are in its weights, its queries are not


@dataclass(frozen=True)
class Generator:
    """A generator that was read from its folder.

    Attributes
    ----------
    name : str
    network : nn.Module
        In evaluation mode.
    scale_bq_mm3 : float
        What 1 of the network's [-1, 1] means.
    pixel_mm, slice_mm : float
    facts : mapping
        The whole `generator.json`.
    """

    name: str
    network: nn.Module
    scale_bq_mm3: float
    pixel_mm: float
    slice_mm: float
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Batch:
    """Some generated images.

    Attributes
    ----------
    images : float32 array, shape (n, H, W)
        Bq/mm3.
    labels : DataFrame
        One row per image; no columns for a model without labels.
    masks : uint8 array, shape (n, H, W), or None
        1 where the defect is.
    """

    images: NDArray[np.float32]
    labels: pd.DataFrame
    masks: NDArray[np.uint8] | None


def read_generator(folder: str | os.PathLike[str]) -> Generator:
    """Read `generator.json` and `generator.safetensors` of a folder.

    Raises
    ------
    InputError
        If a file is missing or damaged, the model is unknown, or the folder is of another version.
    """
    path = Path(folder) / "generator.json"
    weights = path.with_suffix(".safetensors")
    for file in (path, weights):
        if not file.is_file():
            raise InputError(f"{file}: missing, expected a folder like results/gan/vae")
    facts = io.read_json(path)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        got = facts.get("format", "none") if isinstance(facts, dict) else "no object"
        raise InputError(f"{path}: got format {got}, expected {FORMAT}: train the model again")
    name = facts.get("model")
    if not isinstance(name, str) or name not in catalogue.MODELS:
        raise InputError(
            f"{path}: got model {name!r}, expected one of {', '.join(catalogue.MODELS)}"
        )
    try:
        network = sample.load_generator(catalogue.MODELS[name], weights, facts["arguments"])
        scale_bq_mm3, pixel_mm, slice_mm = (
            float(facts[key]) for key in ("scale_bq_mm3", "pixel_mm", "slice_mm")
        )
    except InputError:
        raise
    except Exception as error:  # networks answer to foreign arguments in many ways
        raise InputError(
            f"{path}: written by another version of tubepet ({error}), expected that of "
            f"{tubepet.__version__}: train the model again"
        ) from error
    return Generator(name, network, scale_bq_mm3, pixel_mm, slice_mm, facts)


def read_queries(folder: str | os.PathLike[str], generator: Generator) -> Images:
    """Read the CT slices that a model of `NEEDS_CT` is queried with: those of training patients.

    Parameters
    ----------
    folder : path
        With `slices.npy`, `slices.parquet` and `slices.json`, as `results/ct`.
    generator : Generator

    Raises
    ------
    InputError
        If a file is missing or damaged, or its slices have another size than the model's.
    """
    images, table, info = (Path(folder) / f"slices.{kind}" for kind in ("npy", "parquet", "json"))
    for file in (images, table, info):
        if not file.is_file():
            raise InputError(
                f"{file}: missing, expected the CT slices that {generator.name!r} is queried with: "
                "--ct and a folder like results/ct"
            )
    is_train = io.read_table(table)["split"].to_numpy(str) == "train"
    queries = ct_images(io.read_array(images), is_train, io.read_json(info)["window_hu"])
    expected = generator.facts["arguments"]["image_size"]
    if queries.image_size != expected:
        raise InputError(
            f"{images}: got slices of {queries.image_size} pixels, expected {expected}, the model's"
        )
    return queries


def generate(
    generator: Generator,
    num: int,
    wanted: Mapping[str, Any],
    seed: int,
    ct: Images | None = None,
) -> Iterator[Batch]:
    """Yield `num` images in batches; the same seed gives the same ones.

    Parameters
    ----------
    generator : Generator
    num : int
    wanted : mapping
        What to fix of the tubes, for instance family and defect; {} takes what comes.
    seed : int
    ct : Images or None
        Queries, for the models of `NEEDS_CT`.

    Raises
    ------
    InputError
        If something is wanted of a model that cannot be asked.
    """
    is_drawn = hasattr(generator.network, "population")
    if wanted and not is_drawn:
        raise InputError(
            f"{', '.join(wanted)}: model {generator.name!r} cannot be asked for anything, expected "
            "none of these, or a model like 'ours'"
        )
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    rng = torch.Generator().manual_seed(derived_seed(seed, "gan", generator.name, "generate"))
    nothing = np.zeros((0, 1, 1), np.float32)
    data = Data(Images(nothing, np.arange(0), 0.0, generator.scale_bq_mm3), ct)
    model = catalogue.MODELS[generator.name]
    for start in range(0, num, CHUNK):
        size = min(CHUNK, num - start)
        if is_drawn:
            unit, labels, masks = sample_labelled(generator.network, size, rng, wanted)
            images = ((unit.squeeze(1).numpy() + 1) / 2 * generator.scale_bq_mm3).astype("f4")
            yield Batch(images, labels, masks)
        else:
            images = sample.sample_images(model, generator.network, size, data, rng)
            yield Batch(images, pd.DataFrame(index=range(size)), None)
