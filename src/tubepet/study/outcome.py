"""One training of one variant, and the images that come of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tubepet.generate.data import Data
from tubepet.generate.loop import Diverged, train
from tubepet.generate.run import Config, Model
from tubepet.generate.sample import sample_images
from tubepet.logs import log
from tubepet.rng import derived_seed
from tubepet.study.cost import clock_s

NO_LABELS = pd.DataFrame({"fluid_change_mm3": np.empty(0)})


@dataclass(frozen=True)
class Outcome:
    """What a training gave; without images if it diverged.

    Attributes
    ----------
    images : float32 array, shape (num, H, W)
        Bq/mm3; num is 0 if the training diverged.
    labelled : float32 array, shape (n, H, W)
        More images, Bq/mm3, for the detector: half drawn as the others, half with a defect of each
        class in turn; none if the model gives no labels.
    masks : uint8 array, shape (n, H, W)
        1 where their defects are.
    labels : DataFrame
        Their labels, fluid_change_mm3 among them.
    weights, arguments, curves
        See `tubepet.generate.loop.Trained`.
    cpu_s : float or None
        CPU-seconds (on a GPU: seconds) of the training; None if it was taken up again.
    diverged : str
        "", or the sentence that says when a loss ceased to be finite.
    """

    images: NDArray[np.float32]
    labelled: NDArray[np.float32]
    masks: NDArray[np.uint8]
    labels: pd.DataFrame
    weights: dict[str, Tensor]
    arguments: dict[str, Any]
    curves: pd.DataFrame
    cpu_s: float | None
    diverged: str


def tuned(settings: Config, own: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the chosen keys, unless the variant fixes them itself (`own`)."""
    return {**settings, **choice["set"], **own}


def train_and_sample(
    model: Model,
    name: str,
    settings: Config,
    data: Data,
    num_samples: int,
    seed: int,
    code: str,
    progress_dir: str | os.PathLike[str],
) -> Outcome:
    """Train and sample; a training that diverges is a result, not an error.

    Parameters
    ----------
    model, name, settings, data, seed, code, progress_dir
        See `tubepet.generate.loop.train`.
    num_samples : int
        Images to generate.
    """
    is_resumed = (Path(progress_dir) / "checkpoint.pt").is_file()
    begin_s = clock_s()
    try:
        trained = train(model, name, settings, data, seed, code, progress_dir)
    except Diverged as error:
        log.warning("diverged: %s", error)
        size = data.real.image_size
        none = np.empty((0, size, size), np.float32)
        curves = pd.DataFrame({"step": []})
        made = (none, none.astype(np.uint8), NO_LABELS)
        return Outcome(none, *made, {}, {}, curves, None, str(error))
    cpu_s = None if is_resumed else clock_s() - begin_s
    generator = model.make_generator(trained.arguments)
    generator.load_state_dict(trained.weights)
    rng = torch.Generator().manual_seed(derived_seed(seed, "study", "samples"))
    images = sample_images(model, generator.eval(), num_samples, data, rng)
    made = labelled_images(model, generator, num_samples, data, rng)
    return Outcome(images, *made, trained.weights, trained.arguments, trained.curves, cpu_s, "")


@torch.no_grad()
def labelled_images(
    model: Any, generator: Any, num: int, data: Data, rng: torch.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8], pd.DataFrame]:
    """Generate images for the detector, see `Outcome`; none if the model gives no labels."""
    if not hasattr(model, "sample_labelled"):
        size = data.real.image_size
        return np.empty((0, size, size), np.float32), np.empty((0, size, size), np.uint8), NO_LABELS
    defects = [name for name in generator.population.phantom["defects"] if name != "none"]
    orders = [({}, num // 2), *(({"defect": name}, num // 2 // len(defects)) for name in defects)]
    made = [model.sample_labelled(generator, n, rng, wanted) for wanted, n in orders if n]
    images = torch.cat([images for images, _, _ in made]).float().squeeze(1).numpy()
    low, high = data.real.low, data.real.high
    labels = pd.concat([labels for _, labels, _ in made], ignore_index=True)
    masks = np.concatenate([masks for _, _, masks in made])
    return ((images + 1) / 2 * (high - low) + low).astype(np.float32), masks, labels
