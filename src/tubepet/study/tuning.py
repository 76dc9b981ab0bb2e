"""Tune all variants in the same way: train each candidate once, judge it on validation slices."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tubepet.dataset.slices import Slices
from tubepet.dataset.stack import whole
from tubepet.errors import InputError
from tubepet.evaluate.distances import frechet
from tubepet.evaluate.statistics import fit_space, image_statistics
from tubepet.evaluate.table import MIN_IMAGES
from tubepet.evaluate.window import DARK, window_of
from tubepet.rng import stream


def judge(images: NDArray[np.float32], real: Slices, seed: int) -> dict[str, float | None]:
    """Return the distances of generated images and of training slices to the validation slices.

    Parameters
    ----------
    images : float32 array, shape (N, H, W)
        Bq/mm3; N is 0 if the training diverged.
    real : Slices
    seed : int
        The run's seed; it chooses the training slices.

    Returns
    -------
    dict
        frechet (None without images) and floor: Frechet distances in statistics features, which are
        fitted on the training slices.

    Raises
    ------
    InputError
        If there are too few validation slices for a distance.
    """
    train, val = real.of("train"), real.of("val")
    if len(val) < MIN_IMAGES:
        raise InputError(
            f"reconstruct.split: got {len(val)} validation slices, expected at least {MIN_IMAGES}, "
            "by which study.variants chooses among candidates"
        )
    window = window_of(train, real.tube[train.rows])
    train, val = train.within(window, DARK), val.within(window, DARK)
    raw = image_statistics(train)
    num_images = min(len(images), len(raw)) or len(raw)
    space = fit_space(raw, min(num_images, len(val)))
    target = space.features(val)
    chosen = stream(seed, "study", "tuning").permutation(len(raw))[:num_images]
    floor = frechet(space.transform(raw[chosen]), target)
    unit = whole(images, real.scale_bq_mm3).within(window, DARK)[:num_images]
    return {"frechet": frechet(space.features(unit), target) if len(unit) else None, "floor": floor}


def choose(variant: str, candidates: Sequence[Mapping[str, Any]]) -> int:
    """Return the index of the candidate nearest to the validation slices, the first of equals.

    Parameters
    ----------
    variant : str
        Its name, for the message.
    candidates : sequence of mapping
        Results of `judge`.

    Raises
    ------
    InputError
        If all of them diverged.
    """
    distances = [np.inf if c["frechet"] is None else c["frechet"] for c in candidates]
    if not np.isfinite(distances).any():
        raise InputError(
            f"study.variants.{variant}.candidates: all {len(candidates)} diverged, expected one "
            "that trains; try a lower learning_rate"
        )
    return int(np.argmin(distances))


def table(choices: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row per candidate of every tuned variant."""
    return pd.DataFrame(
        [
            {
                "variant": choice["variant"],
                "candidate": ", ".join(f"{k} {v}" for k, v in candidate["set"].items()),
                **{key: candidate[key] for key in ("num_steps", "cpu_s", "frechet", "floor")},
                "is_chosen": i == choice["index"],
            }
            for choice in choices
            for i, candidate in enumerate(choice["candidates"])
        ]
    )
