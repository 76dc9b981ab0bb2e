"""Read a trained generator from its folder, and make images with it.

The folder `results/generate/<model>` holds the weights and a JSON with architecture, scale and
pixel size. The paper's model also needs CT slices as queries. They are not in its folder, because
their licence may forbid passing them on; `with_queries` reads them from `results/ct`.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import tubepet
from tubepet import io
from tubepet.dataset.drawing import draw_new
from tubepet.errors import InputError
from tubepet.generate.data import Data, Images, ct_images
from tubepet.generate.models import catalogue
from tubepet.generate.sample import Batch, Generator, load_generator, sample_batch
from tubepet.plan.models import VOLUMETRIC, present_name
from tubepet.rng import derived_seed
from tubepet.training.folder import checked_sizes, read_facts

FORMAT = 1  # of generator.json
CHUNK = 20  # images at once; another number would give other images from the same seed


def read_generator(folder: str | os.PathLike[str]) -> Generator:
    """Read `generator.json` and `generator.safetensors` of a folder.

    Raises
    ------
    InputError
        If a file is missing or damaged, the model is unknown, or the folder is of another version.
    """
    path = Path(folder) / "generator.json"
    facts = read_facts(path, FORMAT, "results/generate/vae")
    name = facts.get("model")
    model = catalogue.MODELS.get(present_name(name)) if isinstance(name, str) else None
    if model is None:
        raise InputError(
            f"{path}: got model {name!r}, expected one of {', '.join(catalogue.MODELS)}"
        )
    try:
        network = load_generator(model, path.with_suffix(".safetensors"), facts["arguments"])
        sizes = checked_sizes(path, facts)
    except InputError as error:
        if str(path.parent) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # networks answer to foreign arguments in many ways
        raise InputError(
            f"{path}: written by another version of tubepet ({error}), expected that of "
            f"{tubepet.__version__}: train the model again"
        ) from error
    scale_bq_mm3 = sizes["scale_bq_mm3"]
    nothing = Images(np.zeros((0, 1, 1), np.float32), np.arange(0), 0.0, scale_bq_mm3)
    return Generator(model, network, Data(nothing), sizes["pixel_mm"], sizes["slice_mm"], facts)


def with_queries(generator: Generator, folder: str | os.PathLike[str]) -> Generator:
    """Return the generator with its queries, the CT slices of training patients.

    Parameters
    ----------
    generator : Generator
        Its model needs CT slices for sampling, see `tubepet.plan.models`.
    folder : path
        A folder like `results/ct`, with `slices.npy`, `slices.parquet` and `slices.json`.

    Raises
    ------
    InputError
        If a file is missing or damaged, or its slices have another size than the model's.
    """
    images, table, info = (Path(folder) / f"slices.{kind}" for kind in ("npy", "parquet", "json"))
    for file in (images, table, info):
        if not file.is_file():
            raise InputError(
                f"{file}: missing, expected the CT slices that {generator.model.name!r} is queried "
                "with: --ct and a folder like results/ct"
            )
    is_train = io.read_table(table)["split"].to_numpy(str) == "train"
    queries = ct_images(io.read_array(images), is_train, io.read_json(info)["window_hu"])
    expected = generator.facts["arguments"]["image_size"]
    if queries.image_size != expected:
        raise InputError(
            f"{images}: got slices of {queries.image_size} pixels, expected {expected}, the model's"
        )
    return replace(generator, data=replace(generator.data, ct=queries))


def volumes_of(
    generator: Generator, fluids: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Make the volumes of drawings, for programs that learn from many parts.

    Parameters
    ----------
    generator : Generator
        Its model makes volumes (`tubepet.plan.models.VOLUMETRIC`).
    fluids : float32 array, shape (n, nz, ny, nx)
        Fluid fraction of each voxel on the generator's grid, with the defect of the part
        (`Population.draw_volume`).
    rng : numpy Generator
        Draws the noise.

    Returns
    -------
    float32 array, shape (n, nz, ny, nx)
        Bq/mm3.

    Raises
    ------
    InputError
        If the model makes no volumes, or the drawings have another shape.
    """
    _check_volumetric(generator)
    shape = generator.network.shape
    if fluids.shape[1:] != shape:
        raise InputError(f"drawings: got shape {fluids.shape[1:]}, expected {shape}, the model's")
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    return generator.network.volumes(fluids, rng) * np.float32(generator.scale_bq_mm3)


def generate_volumes(
    generator: Generator, num: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return volumes of new tubes, Bq/mm3, shape (num, nz, ny, nx); see `volumes_of`."""
    _check_volumetric(generator)
    population = generator.network.population
    _, _, tubes = draw_new(population, num, rng, {})
    fluids = [population.draw_volume(tube) for tube in tubes]
    return volumes_of(generator, np.stack(fluids), rng)


def _check_volumetric(generator: Generator) -> None:
    if generator.model.name not in VOLUMETRIC:
        raise InputError(
            f"model {generator.model.name!r}: makes slices, expected one of {', '.join(VOLUMETRIC)}"
        )


def generate(
    generator: Generator, num: int, wanted: Mapping[str, Any], seed: int
) -> Iterator[Batch]:
    """Yield `num` images in batches. Seed and i alone decide image i, whatever `num` is.

    So every batch is made in full, from its own random numbers, and then cut.

    Parameters
    ----------
    generator : Generator
    num : int
    wanted : mapping
        Properties of the tubes to fix, for instance family and defect; the rest is drawn.
    seed : int

    Raises
    ------
    InputError
        If a property is unknown or impossible, or the model cannot fix any.
    """
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    model, network, data = generator.model, generator.network, generator.data
    for start in range(0, num, CHUNK):
        first = derived_seed(seed, "generate", model.name, "generate", start // CHUNK)
        rng = torch.Generator().manual_seed(first)
        batch = sample_batch(model, network, CHUNK, data, rng, wanted)
        kept = slice(0, num - start)
        yield Batch(batch.images[kept], batch.labels.iloc[kept], batch.masks[kept])
