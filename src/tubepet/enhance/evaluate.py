"""Compare networks with classical filters on test tubes; validation tubes choose the settings."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle
from torch import nn

from tubepet import io
from tubepet.enhance.pairs import Pairs
from tubepet.enhance.quality import enhanced, rescaled, score, tube_means, with_measured_total
from tubepet.errors import InputError
from tubepet.logs import log

Slice = NDArray[np.float32]
NUM_DRAWS = 2000  # of tubes; 50 lie beyond each end of a 95 % interval
METRICS = ("psnr", "ssim", "ms_ssim", "activity_bias")
# Largest mean bias of a tube's total activity that counts as preserved (our choice).
ACTIVITY_TOLERANCE = 0.01


class Filter(NamedTuple):
    """A classical method: filter(slice, strength), and the strengths to choose from."""

    apply: Callable[[Slice, float], Slice]
    strengths: tuple[float, ...]


def _nl_means(image: Slice, strength: float) -> Slice:
    return denoise_nl_means(
        image, patch_size=5, patch_distance=7, h=strength, fast_mode=True, preserve_range=True
    )  # fmt: skip


# Strengths: standard deviation in pixels; h of Buades et al. 2005 (doi:10.1109/CVPR.2005.38) and
# weight of Chambolle 2004 (doi:10.1023/B:JMIV.0000011325.36760.1e), both in units of the scale.
FILTERS = {
    "gaussian": Filter(
        lambda image, strength: gaussian_filter(image, strength),
        (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0),
    ),
    "non_local_means": Filter(_nl_means, (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)),
    "total_variation": Filter(
        lambda image, strength: denoise_tv_chambolle(image, weight=strength, max_num_iter=200),
        (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0),
    ),
}


def filtered(name: str, pairs: Pairs, strength: float) -> Slice:
    """Apply a filter of `FILTERS` to the short slices."""
    made = [FILTERS[name].apply(image, strength) for image in pairs.short]
    return np.stack(made).astype(np.float32)


class Made(NamedTuple):
    """What a method makes of validation and test slices, and its strength if it has one."""

    strength: float | None
    val: Slice
    test: Slice


def tuned(
    name: str, make: Callable[[Pairs, float], Slice], strengths: Sequence[float], val: Pairs,
    test: Pairs,
) -> Made:  # fmt: skip
    """Apply a method with the strength that has the highest PSNR on validation tubes.

    Parameters
    ----------
    name : str
        For a warning.
    make : function
        Makes slices (N, H, W) of pairs with a strength.
    strengths : sequence of float
        To choose from, rising.

    Raises
    ------
    InputError
        If there is no validation tube.
    """
    if len(val) == 0:
        raise InputError(
            "reconstruct.split.val: got a share that leaves no validation tube, expected at least "
            "one: networks and filters are chosen on them (target enhance)"
        )
    best, best_psnr, best_images = strengths[0], -np.inf, val.short
    for strength in strengths:  # keeps one set of images: there may be many tubes
        images = make(val, strength)
        psnr = mean_psnr(images, val)
        if psnr > best_psnr:
            best, best_psnr, best_images = strength, psnr, images
    if best in (strengths[0], strengths[-1]):
        log.warning("%s: the best strength, %g, is an end of the range", name, best)
    return Made(best, best_images, make(test, best))


def write_made(paths: Mapping[str, str], made: Made) -> None:
    """Write ``slices`` (.npy, validation slices first) and ``facts`` (JSON) for `read_made`."""
    io.write_array(paths["slices"], np.concatenate([made.val, made.test]))
    io.write_json(paths["facts"], {"strength": made.strength, "num_val": len(made.val)})


def read_made(slices: str, facts: str) -> Made:
    """Read what `write_made` has written."""
    array, told = io.read_array(slices), io.read_json(facts)
    return Made(told["strength"], array[: told["num_val"]], array[told["num_val"] :])


def mean_psnr(images: Slice, pairs: Pairs) -> float:
    """Return the mean over tubes of their slices' PSNR, dB."""
    return float(tube_means(score(images, pairs))["psnr"].mean())


def interval(values: NDArray[np.float64], rng: np.random.Generator) -> dict[str, float]:
    """Return mean and 95 % bootstrap interval of values, one per tube."""
    draws = values[rng.integers(len(values), size=(NUM_DRAWS, len(values)))].mean(1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def _with_totals(made: Made, val: Pairs, test: Pairs) -> Made:
    images = [
        with_measured_total(one, pairs.short, pairs.tubes)
        for one, pairs in ((made.val, val), (made.test, test))
    ]
    return Made(made.strength, *images)


def compare(
    networks: Mapping[str, nn.Module], val: Pairs, test: Pairs, others: Mapping[str, Made],
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Slice]]:  # fmt: skip
    """Compare networks and filters with the long images.

    Parameters
    ----------
    networks : mapping
        Trained networks by name; one is "plain".
    val, test : Pairs
        `val` chooses strengths, best filter and best network. All numbers come from `test`.
    others : mapping
        Methods that are neither, by name. Each tube is scaled to its measured total.

    Returns
    -------
    DataFrame
        One row per method: method, strength, val_psnr, is_chosen, and for each metric mean, `_low`
        and `_high`.
    dict
        For metrics.json.
    dict
        Test images (N, H, W) of each method, in units of the scale.

    Raises
    ------
    InputError
        If there is no validation tube.
    """
    made = {
        "short": Made(None, val.short, test.short),
        **{
            name: tuned(name, partial(filtered, name), found.strengths, val, test)
            for name, found in FILTERS.items()
        },
        **{name: _with_totals(found, val, test) for name, found in others.items()},
        **{
            name: Made(None, rescaled(network, val), rescaled(network, test))
            for name, network in networks.items()
        },
    }
    on_val = {name: mean_psnr(found.val, val) for name, found in made.items()}
    images = {name: found.test for name, found in made.items()}
    values = {name: tube_means(score(image, test)) for name, image in images.items()}
    chosen = {
        kind: max(names, key=on_val.__getitem__)
        for kind, names in (("network", networks), ("filter", FILTERS))
    }
    rows = []
    for name, of_tubes in values.items():
        row = {"method": name, "strength": made[name].strength, "val_psnr": on_val[name]}
        row["is_chosen"] = name in chosen.values()
        for metric in METRICS:
            found = interval(of_tubes[metric].to_numpy(), rng)
            row |= {metric: found["mean"], f"{metric}_low": found["low"]}
            row[f"{metric}_high"] = found["high"]
        rows.append(row)

    def gain(one: str, other: str) -> dict[str, dict[str, float]]:
        pairs = {metric: values[one][metric] - values[other][metric] for metric in METRICS[:3]}
        return {metric: interval(gap.to_numpy(), rng) for metric, gap in pairs.items()}

    best = networks[chosen["network"]]
    unscaled = tube_means(score(enhanced(best, test.short), test))["activity_bias"]
    bias = values[chosen["network"]]["activity_bias"]
    metrics = {
        "num_test_tubes": len(bias),
        "num_test_slices": len(test),
        "chosen": chosen,
        "gain_over_filter": gain(chosen["network"], chosen["filter"]),
        "gain_over_plain": {name: gain(name, "plain") for name in networks if name != "plain"},
        "activity_bias": interval(bias.to_numpy(), rng),
        "activity_bias_unscaled": interval(unscaled.to_numpy(), rng),
        "activity_bias_worst_tube": float(bias.abs().max()),
        "activity_tolerance": ACTIVITY_TOLERANCE,
        "is_activity_preserved": bool(abs(bias.mean()) <= ACTIVITY_TOLERANCE),
    }
    return pd.DataFrame(rows), metrics, images
