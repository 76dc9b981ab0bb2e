"""A feature space learned on simulated tubes that are in no split of the data set.

A small network learns to tell the class of defect and the family of the tube, and to measure its
bore, from slices of these other tubes; its last hidden layer is the space. Generators never see it.
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
from torch import Tensor, nn

from tubepet.errors import InputError
from tubepet.evaluate import network
from tubepet.phantom.spec import DEFECTS, FAMILIES
from tubepet.rng import derived_seed

LEARNED = "learned"  # the name of the space
NUM_SIZES = 2  # largest radius and mean area of the bore
NUM_OUTPUTS = len(DEFECTS) + len(FAMILIES) + NUM_SIZES


@dataclass(frozen=True)
class LearnedSpace:
    """The trained network, with the mean and spread of its features on its own tubes."""

    net: network.SliceNet
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def features(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return standardised features (N, 32) of images (N, H, W) in units of the scale."""
        return (network.apply(self.net.features, images) - self.mean) / self.std


def sizes_mm(truths: Mapping[str, Mapping[str, Any]], tubes: NDArray[np.str_]) -> NDArray[Any]:
    """Return the largest bore radius (mm) and the mean bore area (cm2) per slice, (N, 2)."""
    rows = {
        name: (t["geometry"]["bore_radius_mm"], t["fluid_volume_mm3"] / t["length_mm"] / 100)
        for name, t in truths.items()
    }
    return np.array([rows[tube] for tube in tubes], np.float32)


def train_space(
    images: NDArray[np.float32],
    table: pd.DataFrame,
    truths: Mapping[str, Mapping[str, Any]],
    num_steps: int,
    seed: int,
) -> tuple[LearnedSpace, dict[str, Any]]:
    """Train the network.

    Parameters
    ----------
    images : float32 array, shape (N, H, W)
        Slices of the other tubes, units of the data set's scale.
    table : DataFrame
        Their rows: tube, split, family, defect, has_defect. Rows of split test only check.
    truths : mapping
        truth.json by tube.
    num_steps : int
    seed : int
        The run's seed.

    Returns
    -------
    LearnedSpace
    dict
        What it learned, on the tubes of split test: AUC of defect or not, accuracy of the family,
        error of the radius in mm.
    """
    defect = np.where(table["has_defect"], table["defect"], "none")
    classes = np.array([DEFECTS.index(name) for name in defect])
    families = np.array([FAMILIES.index(name) for name in table["family"]])
    sizes = sizes_mm(truths, table["tube"].to_numpy(str))
    is_train = table["split"].to_numpy(str) != "test"
    shift, spread = sizes[is_train].mean(0), np.maximum(sizes[is_train].std(0), 1e-6)
    targets = torch.from_numpy(np.column_stack([classes, families, (sizes - shift) / spread]))
    net = network.fit(
        NUM_OUTPUTS,
        images[is_train],
        targets[torch.from_numpy(is_train)].float(),
        _loss,
        num_steps,
        derived_seed(seed, "study", "features"),
    )
    raw = network.apply(net.features, images[is_train])
    space = LearnedSpace(net, raw.mean(0), np.maximum(raw.std(0), 1e-6))
    outputs = network.apply(net, images[~is_train])
    class_scores, family_scores, size_scores = np.split(
        outputs, [len(DEFECTS), len(DEFECTS) + len(FAMILIES)], axis=1
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
        "family_accuracy": float((family_scores.argmax(1) == families[~is_train]).mean()),
        "radius_error_mm": float(
            np.abs(size_scores[:, 0] * spread[0] + shift[0] - sizes[~is_train, 0]).mean()
        ),
        "mean": space.mean.tolist(),
        "std": space.std.tolist(),
    }
    return space, facts


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    classes, families, sizes = outputs.split([len(DEFECTS), len(FAMILIES), NUM_SIZES], dim=1)
    entropy = nn.functional.cross_entropy
    return (
        entropy(classes, targets[:, 0].long())
        + entropy(families, targets[:, 1].long())
        + nn.functional.mse_loss(sizes, targets[:, 2:])
    )


def load_space(path: str | os.PathLike[str], facts: Mapping[str, Any]) -> LearnedSpace:
    """Read the network again (safetensors) with the facts that `train_space` gave.

    Raises
    ------
    InputError
        If the file does not hold this network.
    """
    net = network.SliceNet(NUM_OUTPUTS)
    try:
        load_model(net, path)
    except RuntimeError as error:
        raise InputError(f"{path}: expected the weights of the feature network") from error
    return LearnedSpace(net.eval(), np.array(facts["mean"]), np.array(facts["std"]))
