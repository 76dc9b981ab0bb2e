"""The memory bank: one feature vector per positron training slice (stage 06).

A vector is [whitened PCA scores ; PCA scores of the PCANet histograms], each dimension standardised
over the bank (docs/model.md A3, A4). The features are fitted to training slices, evenly taken if
there are many. The generator's training does not change them, unless they are extracted again
(`generate.layers.extractor`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tubepet.dataset.stack import Stack
from tubepet.features.pca import Pca, fit_pca, positive_std, scores, whitened
from tubepet.features.pcanet import fit_pcanet, histogram_features
from tubepet.logs import Bar

Array = NDArray[np.float64]
Tensors = dict[str, NDArray[np.float32]]

MAX_FITTED = 2000  # slices, which bounds the memory and suffices for some dozen components


def _histograms(fractions: Iterable[Array], first: Array, second: Array, num_blocks: int) -> Array:
    return np.stack([histogram_features(f, first, second, num_blocks) for f in fractions])


def make_bank(train: Stack, settings: Mapping[str, Any]) -> tuple[Tensors, Pca]:
    """Fit the features to at most `MAX_FITTED` training slices, and describe all slices by them.

    If there are more slices, they are described piece by piece, which bounds the memory.

    Parameters
    ----------
    train : Stack, shape (S, H, W)
        The training slices in units of the scale, clipped to it. PCA of the network's x = 2 f - 1
        is that of these f up to the factor 2.
    settings : mapping
        Parameters, results and errors are those of `fit_bank`; the bank has S rows.
    """
    some = train.evenly(MAX_FITTED)
    tensors, pca = fit_bank(some.exact(), settings)
    if len(some) < len(train):
        slots = []
        with Bar(total=len(train), desc="bank", unit="slice") as bar:
            for piece in train.pieces():
                slots.append(transform(piece, tensors, settings["pcanet_num_blocks"]))
                bar.update(len(piece))
        tensors["bank"] = np.concatenate(slots).astype(np.float32)
    return tensors, pca


def fit_bank(fractions: Array, settings: Mapping[str, Any]) -> tuple[Tensors, Pca]:
    """Fit PCA and PCANet and make the bank.

    Parameters
    ----------
    fractions : float64 array, shape (S, H, W)
        Training slices, see `make_bank`.
    settings : mapping
        The config section `features`: num_components, pcanet_filter_size, pcanet_num_filters,
        pcanet_num_blocks, pcanet_components.

    Returns
    -------
    tensors : dict of float32 arrays
        bank (S, d_y), standardised. For `transform`: pca_mean (H W,), pca_components (K, H W),
        pca_variance (K,), pcanet_first and pcanet_second (L, k, k), pcanet_mean (n,),
        pcanet_components (K', n), feature_mean and feature_std (d_y,).
    pca : Pca
        The PCA of the pixels, for the figures.

    Raises
    ------
    ValueError
        If there is no slice.
    """
    pixels = fractions.reshape(len(fractions), -1)
    pca = fit_pca(pixels, settings["num_components"], "pixels")
    first, second = fit_pcanet(
        fractions, settings["pcanet_filter_size"], settings["pcanet_num_filters"]
    )
    bar = Bar(fractions, desc="PCANet", unit="slice")
    histograms = _histograms(bar, first, second, settings["pcanet_num_blocks"])
    reduced = fit_pca(histograms, settings["pcanet_components"], "PCANet histograms")
    raw = np.concatenate([whitened(pixels, pca), scores(histograms, reduced)], axis=1)
    mean, std = raw.mean(0), positive_std(raw.var(0))
    tensors = {
        "bank": (raw - mean) / std,
        "pca_mean": pca.mean,
        "pca_components": pca.components,
        "pca_variance": pca.variance,
        "pcanet_first": first,
        "pcanet_second": second,
        "pcanet_mean": reduced.mean,
        "pcanet_components": reduced.components,
        "feature_mean": mean,
        "feature_std": std,
    }
    # safetensors writes the buffer of an array, which would scramble a transposed view
    return {k: np.ascontiguousarray(v, np.float32) for k, v in tensors.items()}, pca


def facts(tensors: Mapping[str, NDArray[np.float32]], pca: Pca) -> dict[str, Any]:
    """Return the content of features.json: sizes, and the share of variance of each component."""
    num_slots, num_features = tensors["bank"].shape
    return {
        "num_slots": num_slots,
        "num_features": num_features,
        "num_pca_components": len(pca.components),
        "num_pcanet_components": len(tensors["pcanet_components"]),
        "num_pcanet_raw_features": len(tensors["pcanet_mean"]),
        "explained_variance_ratio": [float(r) for r in pca.ratio[: len(pca.components)]],
    }


def transform(
    fractions: Array, tensors: Mapping[str, NDArray[np.float32]], num_blocks: int
) -> Array:
    """Return the bank's features of new slices.

    Parameters
    ----------
    fractions : float64 array, shape (N, H, W)
        In units of the scale.
    tensors : mapping
        From `fit_bank`, or read back from bank.safetensors.
    num_blocks : int
        pcanet_num_blocks of the fit.

    Returns
    -------
    float64 array, shape (N, d_y)
    """
    t = {name: np.asarray(value, np.float64) for name, value in tensors.items()}
    pixels = (fractions.reshape(len(fractions), -1) - t["pca_mean"]) @ t["pca_components"].T
    histograms = _histograms(fractions, t["pcanet_first"], t["pcanet_second"], num_blocks)
    reduced = (histograms - t["pcanet_mean"]) @ t["pcanet_components"].T
    raw = np.concatenate([pixels / positive_std(t["pca_variance"]), reduced], axis=1)
    return np.asarray((raw - t["feature_mean"]) / t["feature_std"])
