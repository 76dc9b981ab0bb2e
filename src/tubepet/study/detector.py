"""What an inspector gains: a defect detector trained with and without generated slices.

All arms get the same number of steps, the same classical augmentation and batches with as many
slices with a defect as without; only the slices differ.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from tubepet.evaluate import network

Images = NDArray[np.float32]
Labels = NDArray[np.bool_]

REAL, BOTH, SYNTHETIC = "real", "real + generated", "generated"


@dataclass(frozen=True)
class Slices:
    """Labelled slices: images (N, H, W) in units of the scale, and whether each has a defect."""

    images: Images
    has_defect: Labels


def labelled(images: Images, change_mm3: NDArray[np.float64], visible_mm3: float) -> Slices:
    """Label slices by the volume of fluid that a defect changes in them.

    Slices with less than `visible_mm3`, which no image can show, are left out; 0 is no defect.
    """
    is_clear = (change_mm3 == 0) | (change_mm3 >= visible_mm3)
    return Slices(images[is_clear], change_mm3[is_clear] >= visible_mm3)


def joined(sets: list[Slices]) -> tuple[Slices, NDArray[np.float64]]:
    """Put sets together; return them and weights that draw every set and class equally often."""
    weights = []
    for s in sets:
        classes = [s.has_defect == value for value in (True, False)]
        present = [c for c in classes if c.any()]
        weight = np.zeros(len(s.images))
        for c in present:
            weight[c] = 1 / (c.sum() * len(present) * len(sets))
        weights.append(weight)
    whole = Slices(
        np.concatenate([s.images for s in sets]), np.concatenate([s.has_defect for s in sets])
    )
    return whole, np.concatenate(weights)


def detector_auc(sets: list[Slices], test: Slices, num_steps: int, seed: int) -> float | None:
    """Train a detector on some sets and return its AUC on the test slices.

    None if a class is missing in the training or the test slices.
    """
    train, weights = joined(sets)
    if any(len(np.unique(s.has_defect)) < 2 for s in (train, test)):
        return None
    targets = torch.from_numpy(train.has_defect.astype(np.float32))
    net = network.fit(1, train.images, targets, _loss, num_steps, seed, weights)
    return float(roc_auc_score(test.has_defect, network.apply(net, test.images)[:, 0]))


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(outputs[:, 0], targets)


def compare(
    real: Slices, generated: Slices | None, test: Slices, num_steps: int, seed: int
) -> Mapping[str, float | None]:
    """Return the AUC of each arm: real slices alone, with generated ones, generated alone."""
    arms = {REAL: [real]}
    if generated is not None:
        arms |= {BOTH: [real, generated], SYNTHETIC: [generated]}
    return {name: detector_auc(sets, test, num_steps, seed) for name, sets in arms.items()}
