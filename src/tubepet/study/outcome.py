"""Train one variant with one seed, and generate images with it."""

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
from tubepet.generate.run import Config, Task
from tubepet.generate.sample import Batch, sample_batch, sample_images
from tubepet.logs import log
from tubepet.rng import derived_seed
from tubepet.study.cost import clock_s


@dataclass(frozen=True)
class Outcome:
    """The results of a training.

    Attributes
    ----------
    images : float32 array, shape (num, H, W)
        Bq/mm3; num is 0 if the training diverged.
    labelled : Batch
        More images, for the detector. Half are drawn like the others; half have a defect, as many
        of each class. None if the model gives no labels.
    weights, arguments, curves
        See `tubepet.generate.loop.Trained`.
    cpu_s : float or None
        CPU-seconds (on a GPU: wall time) of the training. None if it was resumed or diverged.
    diverged : str
        "", or a sentence on the loss that is not finite.
    """

    images: NDArray[np.float32]
    labelled: Batch
    weights: dict[str, Tensor]
    arguments: dict[str, Any]
    curves: pd.DataFrame
    cpu_s: float | None
    diverged: str


def tuned(settings: Config, own: Mapping[str, Any], choice: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the chosen keys; keys that the variant sets itself (`own`) prevail."""
    return {**settings, **choice["set"], **own}


def train_and_sample(
    task: Task, num_samples: int, code: str, progress_dir: str | os.PathLike[str]
) -> Outcome:
    """Train and sample; a training that diverges is a result, too.

    Parameters
    ----------
    task, code, progress_dir
        See `tubepet.generate.loop.train`.
    num_samples : int
        Images to generate.
    """
    is_resumed = (Path(progress_dir) / "checkpoint.pt").is_file()
    begin_s = clock_s()
    try:
        trained = train(task, code, progress_dir)
    except Diverged as error:
        log.warning("diverged: %s", error)
        none = no_images(task.data)
        curves = pd.DataFrame({"step": []})
        return Outcome(none.images, none, {}, {}, curves, None, str(error))
    cpu_s = None if is_resumed else clock_s() - begin_s
    network = task.model.make_generator(trained.arguments)
    network.load_state_dict(trained.weights)
    rng = torch.Generator().manual_seed(derived_seed(task.seed, "study", "samples"))
    images = sample_images(task.model, network.eval(), num_samples, task.data, rng)
    made = labelled_images(task, network, num_samples, rng)
    return Outcome(images, made, trained.weights, trained.arguments, trained.curves, cpu_s, "")


def no_images(data: Data) -> Batch:
    """Return a batch of no images."""
    none = np.empty((0, data.real.image_size, data.real.image_size), np.float32)
    return Batch(none, pd.DataFrame({"fluid_change_mm3": np.empty(0)}), none.astype(np.uint8))


def labelled_images(task: Task, network: Any, num: int, rng: torch.Generator) -> Batch:
    """Generate images for the detector, see `Outcome`; none if the model gives no labels."""
    if not task.model.is_labelled:
        return no_images(task.data)
    defects = [name for name in network.population.phantom["defects"] if name != "none"]
    orders = [({}, num // 2), *(({"defect": name}, num // 2 // len(defects)) for name in defects)]
    made = [sample_batch(task.model, network, n, task.data, rng, w) for w, n in orders if n]
    return Batch(
        np.concatenate([batch.images for batch in made]),
        pd.concat([batch.labels for batch in made], ignore_index=True),
        np.concatenate([batch.masks for batch in made]),
    )
