"""A feature space learned on simulated tubes that are in no split of the data set.

A small network learns from slices of these other tubes. It predicts where fluid and defect are, the
class of the defect and its change of fluid, and shape, radius and elongation of the bore. The last
hidden layer gives the features. Generators do not use them.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import load_model
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional

from tubepet.errors import InputError
from tubepet.evaluate import network
from tubepet.phantom.spec import DEFECTS
from tubepet.rng import derived_seed

LEARNED = "learned"  # the name of the space
# Shapes that a slice can show: all other families have round cross sections.
SHAPES = ("elliptical", "rounded_square", "other")
NUM_SIZES = 3  # radius, elongation, fluid that the defect adds or takes
NUM_OUTPUTS = len(DEFECTS) + len(SHAPES) + NUM_SIZES
NUM_MAPS = 2  # of fluid and of defect
CELL_PX = 8
DEFECT_WEIGHT = 5.0  # of a cell with a defect: most have none


@dataclass(frozen=True)
class LearnedSpace:
    """The trained network, with the mean and spread of its features on its own tubes."""

    net: network.SliceNet
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def features(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return standardised features (N, 32) of images (N, H, W) in units of the scale."""
        return (network.apply(self.net.features, images) - self.mean) / self.std


@dataclass(frozen=True)
class Lessons:
    """Slices of the other tubes, with drawings and labels.

    Attributes
    ----------
    images, fluid : float32 array, shape (N, H, W)
        Units of the data set's scale; share of each pixel that is fluid.
    masks : array, shape (N, H, W)
        1 where the defect is.
    change_mm3 : float64 array, shape (N,)
        Volume of fluid that the defect adds (> 0) or takes (< 0).
    table : DataFrame
        tube, split, family, defect. Rows of split test are for checks only.
    """

    images: NDArray[np.float32]
    fluid: NDArray[np.float32]
    masks: NDArray[Any]
    change_mm3: NDArray[np.float64]
    table: pd.DataFrame


def shape_of(fluid: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return radius (pixels, of the circle of equal area) and elongation of the fluid, (N, 2).

    The elongation is the ratio of the spreads along the principal axes, at least 1.
    """
    mass = fluid.sum((1, 2), dtype=np.float64)
    y, x = (a - a.mean() for a in np.mgrid[: fluid.shape[1], : fluid.shape[2]].astype(np.float64))
    safe = np.maximum(mass, 1e-9)
    my, mx = ((fluid * a).sum((1, 2)) / safe for a in (y, x))
    cyy = (fluid * y**2).sum((1, 2)) / safe - my**2
    cxx = (fluid * x**2).sum((1, 2)) / safe - mx**2
    cxy = (fluid * x * y).sum((1, 2)) / safe - mx * my
    middle, half = (cxx + cyy) / 2, np.hypot((cxx - cyy) / 2, cxy)
    ratio = np.sqrt((middle + half) / np.maximum(middle - half, 1e-9))
    return np.stack([np.sqrt(mass / np.pi), ratio], axis=1)


def train_space(
    lessons: Lessons, visible_mm3: float, num_steps: int, seed: int
) -> tuple[LearnedSpace, dict[str, Any]]:
    """Train the network.

    Parameters
    ----------
    lessons : Lessons
    visible_mm3 : float
        Least change of fluid with which a defect counts.
    num_steps : int
    seed : int
        The run's seed.

    Returns
    -------
    LearnedSpace
    dict
        For JSON. On the tubes of split test: defect_auc of a visible defect (None if there is one
        class only), shape_accuracy, radius_error_px. Numbers of slices, tubes, and mean and std of
        the features.
    """
    table, is_visible = lessons.table, np.abs(lessons.change_mm3) >= visible_mm3
    defect = np.where(is_visible, table["defect"], "none")
    classes = np.array([DEFECTS.index(name) for name in defect])
    families = np.where(table["family"].isin(SHAPES), table["family"], "other")
    shapes = np.array([SHAPES.index(name) for name in families])
    sizes = np.column_stack([shape_of(lessons.fluid), lessons.change_mm3])
    is_train = table["split"].to_numpy(str) != "test"
    shift, spread = sizes[is_train].mean(0), np.maximum(sizes[is_train].std(0), 1e-6)
    columns = np.column_stack([classes, shapes, (sizes - shift) / spread])[is_train]
    targets = torch.from_numpy(columns).float()
    masks = lessons.masks * is_visible[:, None, None]
    stacked = np.stack([lessons.images, lessons.fluid, masks], axis=1, dtype=np.float32)
    net = network.fit(
        lambda: network.SliceNet(NUM_OUTPUTS, NUM_MAPS),
        stacked[is_train],
        lambda net, batch, rows: _loss(net, batch, targets[rows]),
        num_steps,
        derived_seed(seed, "study", "features"),
    )
    raw = network.apply(net.features, lessons.images[is_train])
    space = LearnedSpace(net, raw.mean(0), np.maximum(raw.std(0), 1e-6))
    outputs = network.apply(lambda batch: net(batch)[0], lessons.images[~is_train])
    class_scores, shape_scores, size_scores = np.split(
        outputs, [len(DEFECTS), len(DEFECTS) + len(SHAPES)], axis=1
    )
    none = DEFECTS.index("none")
    has_defect = classes[~is_train] != none
    is_mixed = 0 < has_defect.sum() < len(has_defect)
    others = np.delete(class_scores, none, axis=1)
    facts = {
        "num_slices": int(is_train.sum()),
        "num_checked": int((~is_train).sum()),
        "tubes": sorted(set(table["tube"])),
        "defect_auc": float(roc_auc_score(has_defect, others.max(1) - class_scores[:, none]))
        if is_mixed
        else None,
        "shape_accuracy": float((shape_scores.argmax(1) == shapes[~is_train]).mean()),
        "radius_error_px": float(
            np.abs(size_scores[:, 0] * spread[0] + shift[0] - sizes[~is_train, 0]).mean()
        ),
        "mean": space.mean.tolist(),
        "std": space.std.tolist(),
    }
    return space, facts


def _loss(net: network.SliceNet, batch: Tensor, targets: Tensor) -> Tensor:
    image, fluid, mask = batch.split(1, dim=1)
    outputs, maps = net(image)
    classes, shapes, sizes = outputs.split([len(DEFECTS), len(SHAPES), NUM_SIZES], dim=1)
    where_fluid, where_defect = maps.split(1, dim=1)
    entropy, binary = functional.cross_entropy, functional.binary_cross_entropy_with_logits
    weight = torch.tensor(DEFECT_WEIGHT)
    return (
        entropy(classes, targets[:, 0].long())
        + entropy(shapes, targets[:, 1].long())
        + functional.mse_loss(sizes, targets[:, 2:])
        + binary(where_fluid, functional.avg_pool2d(fluid, CELL_PX))
        + binary(where_defect, functional.max_pool2d(mask, CELL_PX), pos_weight=weight)
    )


def load_space(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> LearnedSpace:
    """Read the network (safetensors); `facts` are those of `train_space`.

    Raises
    ------
    InputError
        If the file does not hold this network.
    """
    net = network.SliceNet(NUM_OUTPUTS, NUM_MAPS)
    try:
        load_model(net, path)
    except RuntimeError as error:
        raise InputError(f"{path}: expected the weights of the feature network") from error
    return LearnedSpace(net.eval(), np.array(facts["mean"]), np.array(facts["std"]))
