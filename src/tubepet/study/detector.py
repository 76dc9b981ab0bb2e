"""What an inspector gains: a defect detector trained with and without generated slices.

All arms get the same number of steps, the same classical augmentation and batches with as many
slices with a defect as without; only the slices differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from tubepet.evaluate import network

Images = NDArray[np.float32]

REAL, BOTH, SYNTHETIC = "real", "real + generated", "generated"

CELL_PX = 4  # side of the cells that are judged
WIDTHS = (16, 32, 32, 32)
DEFECT_WEIGHT = 5.0  # of a cell with a defect: most cells of a slice with a defect have none
PRIOR_LOGIT = -3.0  # of every cell at the start


@dataclass(frozen=True)
class Labelled:
    """Slices, and where their defects are.

    Attributes
    ----------
    images : float32 array, shape (N, H, W)
        Units of the scale.
    has_defect : bool array, shape (N,)
    masks : array, shape (N, H, W)
        1 where the defect is; empty in slices without.
    """

    images: Images
    has_defect: NDArray[np.bool_]
    masks: NDArray[Any]


class DefectNet(nn.Module):
    """Slices -> a logit per cell of 4 x 4 pixels that there is a defect.

    Told where the defects are, it learns from far fewer slices than told only whether there is one.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.AvgPool2d(2)]
        for narrow, wide, stride in zip((1, *WIDTHS), WIDTHS, (1, 2, 1, 1), strict=False):
            layers += network.block(narrow, wide, stride)
        last = nn.Conv2d(WIDTHS[-1], 1, 1)
        nn.init.constant_(last.bias, PRIOR_LOGIT)  # type: ignore[arg-type]
        self.layers = nn.Sequential(*layers, last)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) -> logits (B, 1, H / 4, W / 4)."""
        logits: Tensor = self.layers(image)
        return logits


def labelled(
    images: Images, masks: NDArray[Any], change_mm3: NDArray[np.float64], visible_mm3: float
) -> Labelled:
    """Label slices by the volume of fluid that a defect changes in them.

    Slices with less than `visible_mm3`, which no image can show, are left out; 0 is no defect.
    """
    is_clear = (change_mm3 == 0) | (change_mm3 >= visible_mm3)
    has_defect = change_mm3[is_clear] >= visible_mm3
    return Labelled(images[is_clear], has_defect, masks[is_clear] * has_defect[:, None, None])


def joined(sets: Sequence[Labelled]) -> tuple[Labelled, NDArray[np.float64]]:
    """Put sets together; return them and weights that draw every set and class equally often."""
    weights = []
    for s in sets:
        present = [c for c in (s.has_defect, ~s.has_defect) if c.any()]
        weight = np.zeros(len(s.images))
        for c in present:
            weight[c] = 1 / (c.sum() * len(present) * len(sets))
        weights.append(weight)
    parts = [np.concatenate([getattr(s, f.name) for s in sets]) for f in fields(Labelled)]
    return Labelled(*parts), np.concatenate(weights)


def detector_auc(
    sets: Sequence[Labelled], test: Labelled, num_steps: int, seed: int
) -> float | None:
    """Train a detector on some sets and return its AUC on the test slices, by their worst cell.

    None if a class is missing in the training or the test slices.
    """
    train, weights = joined(sets)
    if any(len(np.unique(s.has_defect)) < 2 for s in (train, test)):
        return None
    stacked = np.stack([train.images, train.masks], axis=1, dtype=np.float32)
    net = network.fit(DefectNet, stacked, _loss, num_steps, seed, weights)
    worst = network.apply(lambda batch: net(batch).amax((1, 2, 3)), test.images)
    return float(roc_auc_score(test.has_defect, worst))


def _loss(net: nn.Module, batch: Tensor, rows: Tensor) -> Tensor:
    image, mask = batch.split(1, dim=1)
    cells = nn.functional.max_pool2d(mask, CELL_PX)
    weight = torch.tensor(DEFECT_WEIGHT)
    return nn.functional.binary_cross_entropy_with_logits(net(image), cells, pos_weight=weight)


def compare(
    real: Labelled, generated: Labelled | None, test: Labelled, num_steps: int, seed: int
) -> Mapping[str, float | None]:
    """Return the AUC of each arm: real slices alone, with generated ones, generated alone."""
    arms = {REAL: [real]}
    if generated is not None:
        arms |= {BOTH: [real, generated], SYNTHETIC: [generated]}
    return {name: detector_auc(sets, test, num_steps, seed) for name, sets in arms.items()}
