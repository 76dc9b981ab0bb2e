"""One training of one variant, and the images that come of it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tubepet.gan.data import Data
from tubepet.gan.run import Config, Model
from tubepet.gan.sample import sample_images
from tubepet.gan.train import Diverged, train
from tubepet.logs import log
from tubepet.rng import derived_seed
from tubepet.study.cost import clock_s


@dataclass(frozen=True)
class Outcome:
    """What a training gave; without images if it diverged.

    Attributes
    ----------
    images : float32 array, shape (num, H, W)
        Bq/mm3; num is 0 if the training diverged.
    weights, arguments, curves
        See `tubepet.gan.train.Trained`.
    cpu_s : float or None
        CPU-seconds (on a GPU: seconds) of the training; None if it was taken up again.
    diverged : str
        "", or the sentence that says when a loss ceased to be finite.
    """

    images: NDArray[np.float32]
    weights: dict[str, Tensor]
    arguments: dict[str, Any]
    curves: pd.DataFrame
    cpu_s: float | None
    diverged: str


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
        See `tubepet.gan.train.train`.
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
        return Outcome(none, {}, {}, pd.DataFrame({"step": []}), None, str(error))
    cpu_s = None if is_resumed else clock_s() - begin_s
    generator = model.make_generator(trained.arguments)
    generator.load_state_dict(trained.weights)
    rng = torch.Generator().manual_seed(derived_seed(seed, "study", "samples"))
    images = sample_images(model, generator.eval(), num_samples, data, rng)
    return Outcome(images, trained.weights, trained.arguments, trained.curves, cpu_s, "")
