"""Train a detector of defects with and without generated slices, and compare their AUC.

Number of steps and augmentation are the same in all arms, and half of a batch has a defect on
average. Only the slices differ.
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

CELL_PX = 4  # side of a cell
WIDTHS = (16, 32, 32, 32)
DEFECT_WEIGHT = 5.0  # of cells with a defect, which are few
PRIOR_LOGIT = -3.0  # of every cell at the start


@dataclass(frozen=True)
class Labelled:
    """Slices with masks of their defects.

    Attributes
    ----------
    images : float32 array, shape (N, H, W)
        Units of the scale.
    has_defect : bool array, shape (N,)
    masks : array, shape (N, H, W)
        1 where the defect is; all 0 in slices without.
    """

    images: Images
    has_defect: NDArray[np.bool_]
    masks: NDArray[Any]


class DefectNet(nn.Module):
    """Slices -> a logit per cell of 4 x 4 pixels that the cell has a defect.

    With labels per cell it learns from far fewer slices than with labels per slice.
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
    """Label slices by the absolute volume of fluid that the defect changes, `change_mm3` (N,).

    A change of 0 is no defect. Slices with a change below `visible_mm3` are left out, as no image
    shows it.
    """
    is_clear = (change_mm3 == 0) | (change_mm3 >= visible_mm3)
    has_defect = change_mm3[is_clear] >= visible_mm3
    return Labelled(images[is_clear], has_defect, masks[is_clear] * has_defect[:, None, None])


def joined(sets: Sequence[Labelled]) -> tuple[Labelled, NDArray[np.float64]]:
    """Join sets; return them, and weights that draw every set, and each class in it, as often."""
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
    """Train a detector on some sets and return its AUC on the test slices.

    The score of a slice is the largest logit of its cells. None if a class is missing in training
    or test slices.
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
    """Return the AUC of each arm: real slices, real and generated slices, generated slices."""
    arms = {REAL: [real]}
    if generated is not None:
        arms |= {BOTH: [real, generated], SYNTHETIC: [generated]}
    return {name: detector_auc(sets, test, num_steps, seed) for name, sets in arms.items()}
