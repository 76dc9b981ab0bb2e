"""Score one set of images against all test slices, and against halves of the test tubes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from tubepet import io
from tubepet.dataset.stack import Images
from tubepet.dataset.symmetries import NUM_SYMMETRIES, turned
from tubepet.evaluate import distances, metrics, similarity
from tubepet.evaluate.metrics import Described
from tubepet.evaluate.row_names import COPY, FLOOR
from tubepet.rng import stream
from tubepet.study.intervals import half_splits

Score = dict[str, Any]

NEAREST_SIMILARITY = (
    "MS-SSIM of each image with the test slice nearest to it, in any rotation or mirror image "
    "(the other reading of the paper's number: fidelity, higher is better)"
)


@dataclass(frozen=True)
class Real:
    """The held-out slices, which all runs share.

    Attributes
    ----------
    described : Described
    images : float32 array or Stack, shape (N, H, W)
        Units of the scale.
    halves : list of bool array, shape (N,)
        The slices of random halves of the test tubes, the same for every run.
    """

    described: Described
    images: Images
    halves: Sequence[NDArray[np.bool_]]


def nearest_similarity(images: Images, real: Images) -> float:
    """Return the mean MS-SSIM of images with their nearest real slice, aligned."""
    _, index = distances.nearest_training(images, real)
    nearest = real[index]
    every = np.stack([turned(nearest, element) for element in range(NUM_SYMMETRIES)])
    best = np.square(every - images).mean((2, 3)).argmin(0)
    aligned = every[best, np.arange(len(images))]
    chunks = range(0, len(images), similarity.CHUNK)
    cuts = [slice(i, i + similarity.CHUNK) for i in chunks]
    return float(np.concatenate([similarity.ms_ssim(images[c], aligned[c]) for c in cuts]).mean())


def score(images: Images, described: Described, real: Real) -> Score:
    """Score one set of images.

    Returns
    -------
    dict
        values: one number per metric, against all test slices. draws: for quick metrics, a list of
        numbers, one per half of the test tubes. num_images.
    """
    values = _finite(metrics.measure(described, real.described))
    values["ms_ssim_nearest"] = nearest_similarity(images, real.images)
    halves = [
        _finite(metrics.measure(described, real.described.subset(half), metrics.QUICK))
        for half in real.halves
    ]
    draws = {name: [half[name] for half in halves] for name in (halves[0] if halves else {})}
    return {"values": values, "draws": draws, "num_images": len(images)}


def _finite(values: metrics.Values) -> metrics.Values:
    """Replace numbers that are not finite by None; with one tube, distances to others are inf."""
    return {n: v if v is not None and np.isfinite(v) else None for n, v in values.items()}


def score_real(
    train: Images,
    train_tubes: NDArray[np.str_],
    real: Real,
    spaces: Mapping[str, metrics.Space],
    num_images: int,
    num_seeds: int,
    seed: int,
) -> list[Score]:
    """Score training slices like generated ones: as real images (`FLOOR`) and as copies (`COPY`).

    For `FLOOR`, slices of the same tube do not count as nearest training slices.
    """
    originals = distances.seen(train)
    alone, _ = distances.nearest_training(train, originals, (train_tubes, train_tubes))
    rows = []
    for i_seed in range(num_seeds):
        rng = stream(seed, "study", "real", i_seed)
        for name, chosen in (
            (FLOOR, rng.permutation(len(train))[:num_images]),
            (COPY, rng.integers(len(train), size=num_images)),
        ):
            images = train[chosen]
            nearest = alone[chosen]
            if name == COPY:
                nearest, _ = distances.nearest_training(images, originals)
            tubes = train_tubes[chosen]
            described = metrics.describe(images, nearest, spaces, rng, tubes)
            rows.append({"variant": name, "seed": i_seed, **score(images, described, real)})
    return rows


def test_halves(tubes: NDArray[np.str_], num: int, seed: int) -> list[NDArray[np.bool_]]:
    """Return the halves of the test tubes that all runs share."""
    return half_splits(tubes, num, stream(seed, "study", "halves"))


def write_described(path: str | os.PathLike[str], described: Described) -> None:
    """Write a `Described` as safetensors."""
    arrays = {f.name: getattr(described, f.name) for f in fields(described) if f.name != "features"}
    arrays |= {f"features.{space}": array for space, array in described.features.items()}
    with io.atomic(path) as part:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, part)


def read_described(path: str | os.PathLike[str]) -> Described:
    """Read what `write_described` wrote."""
    arrays = load_file(io.checked(path))
    names = [name for name in arrays if name.startswith("features.")]
    features = {name.removeprefix("features."): arrays.pop(name) for name in names}
    return Described(features=features, **arrays)
